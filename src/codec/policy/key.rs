//! The condition keys a policy can name: those of every request (`aws:`), of S3, of IAM and STS.
//!
//! Names are compared without regard to case. Some keys are families, as `s3:ExistingObjectTag/<tag>`;
//! the part behind the slash keeps its case. Each key says where its value comes from. One about something
//! that this server does not have (there are no VPCs here) is absent from every request, as it is on AWS for requests
//! that do not come that way; one about something that it has and cannot tell is refused when a policy is set. Keys of
//! services that are not here are `Foreign` and absent too.

/// Where the value of a key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// What is known of a request before its body is read, and of the object that is there (`s3::facts`).
    Request,
    /// The body of some operations; a header of others may say the same (`s3::facts`).
    Body,
    /// What the server itself writes into buckets (`iam::delivery`).
    Delivery,
    /// Nowhere: there is nothing here that it could be about.
    Absent,
    /// Nowhere, and a policy that asks for it would be misled: tags of buckets count on AWS once they are switched on
    /// for access (PutBucketAbac), and TLS ends in front of this server.
    Untold,
}

macro_rules! names {
    ($($name:ident $text:literal $family:literal $origin:ident;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name { $($name,)* Foreign }

        /// Name, text, and whether a parameter follows a slash.
        const NAMES: &[(Name, &str, bool)] = &[$((Name::$name, $text, $family),)*];

        impl Name {
            /// All but `Foreign`.
            pub const ALL: &'static [Name] = &[$(Name::$name,)*];

            pub const fn text(self) -> &'static str {
                match self { $(Name::$name => $text,)* Name::Foreign => "" }
            }

            pub const fn origin(self) -> Origin {
                match self { $(Name::$name => Origin::$origin,)* Name::Foreign => Origin::Absent }
            }
        }
    };
}

// tidy: table
names! {
    CurrentTime "aws:CurrentTime" false Request;
    EpochTime "aws:EpochTime" false Request;
    SourceIp "aws:SourceIp" false Request;
    SecureTransport "aws:SecureTransport" false Request;
    UserAgent "aws:UserAgent" false Request;
    Referer "aws:Referer" false Request;
    PrincipalArn "aws:PrincipalArn" false Request;
    PrincipalAccount "aws:PrincipalAccount" false Request;
    PrincipalType "aws:PrincipalType" false Request;
    UserId "aws:userid" false Request;
    UserName "aws:username" false Request;
    PrincipalIsService "aws:PrincipalIsAWSService" false Request;
    PrincipalServiceName "aws:PrincipalServiceName" false Delivery;
    RequestedRegion "aws:RequestedRegion" false Request;
    ResourceAccountGlobal "aws:ResourceAccount" false Request;
    SourceAccount "aws:SourceAccount" false Delivery;
    SourceArn "aws:SourceArn" false Delivery;
    RequestTag "aws:RequestTag" true Body;
    ResourceTag "aws:ResourceTag" true Untold;
    TagKeys "aws:TagKeys" false Body;
    PrincipalTag "aws:PrincipalTag" true Absent;
    PrincipalServiceNames "aws:PrincipalServiceNamesList" false Delivery;
    PrincipalOrgId "aws:PrincipalOrgID" false Absent;
    PrincipalOrgPaths "aws:PrincipalOrgPaths" false Absent;
    ResourceOrgId "aws:ResourceOrgID" false Absent;
    ResourceOrgPaths "aws:ResourceOrgPaths" false Absent;
    SourceOrgId "aws:SourceOrgID" false Absent;
    SourceOrgPaths "aws:SourceOrgPaths" false Absent;
    SourceOwner "aws:SourceOwner" false Delivery;
    SourceVpc "aws:SourceVpc" false Absent;
    SourceVpce "aws:SourceVpce" false Absent;
    SourceVpcArn "aws:SourceVpcArn" false Absent;
    VpcSourceIp "aws:VpcSourceIp" false Absent;
    VpceAccount "aws:VpceAccount" false Absent;
    VpceOrgId "aws:VpceOrgID" false Absent;
    VpceOrgPaths "aws:VpceOrgPaths" false Absent;
    ViaService "aws:ViaAWSService" false Request;
    CalledVia "aws:CalledVia" false Absent;
    CalledViaFirst "aws:CalledViaFirst" false Absent;
    CalledViaLast "aws:CalledViaLast" false Absent;
    FederatedProvider "aws:FederatedProvider" false Absent;
    MultiFactorPresent "aws:MultiFactorAuthPresent" false Absent;
    MultiFactorAge "aws:MultiFactorAuthAge" false Absent;
    TokenIssueTime "aws:TokenIssueTime" false Absent;
    SourceIdentity "aws:SourceIdentity" false Absent;
    InstanceVpc "aws:Ec2InstanceSourceVpc" false Absent;
    InstanceIp "aws:Ec2InstanceSourcePrivateIPv4" false Absent;
    AssumedRoot "aws:AssumedRoot" false Absent;
    ChatbotArn "aws:ChatbotSourceArn" false Absent;
    IsMcp "aws:IsMcpServiceAction" false Absent;
    Prefix "s3:prefix" false Request;
    Delimiter "s3:delimiter" false Request;
    MaxKeys "s3:max-keys" false Request;
    VersionId "s3:VersionId" false Request;
    Acl "s3:x-amz-acl" false Request;
    CopySource "s3:x-amz-copy-source" false Request;
    MetadataDirective "s3:x-amz-metadata-directive" false Request;
    GrantRead "s3:x-amz-grant-read" false Request;
    GrantWrite "s3:x-amz-grant-write" false Request;
    GrantReadAcp "s3:x-amz-grant-read-acp" false Request;
    GrantWriteAcp "s3:x-amz-grant-write-acp" false Request;
    GrantFullControl "s3:x-amz-grant-full-control" false Request;
    Encryption "s3:x-amz-server-side-encryption" false Request;
    EncryptionKey "s3:x-amz-server-side-encryption-aws-kms-key-id" false Request;
    EncryptionCustomer "s3:x-amz-server-side-encryption-customer-algorithm" false Request;
    StorageClass "s3:x-amz-storage-class" false Request;
    WebsiteRedirect "s3:x-amz-website-redirect-location" false Request;
    ObjectOwnership "s3:x-amz-object-ownership" false Request;
    ContentSha256 "s3:x-amz-content-sha256" false Request;
    RequestObjectTag "s3:RequestObjectTag" true Body;
    RequestObjectTagKeys "s3:RequestObjectTagKeys" false Body;
    ExistingObjectTag "s3:ExistingObjectTag" true Request;
    LockMode "s3:object-lock-mode" false Body;
    LockHold "s3:object-lock-legal-hold" false Body;
    LockUntil "s3:object-lock-retain-until-date" false Body;
    LockDays "s3:object-lock-remaining-retention-days" false Body;
    LocationConstraint "s3:LocationConstraint" false Body;
    SignatureVersion "s3:signatureversion" false Request;
    AuthType "s3:authType" false Request;
    SignatureAge "s3:signatureAge" false Request;
    ResourceAccount "s3:ResourceAccount" false Request;
    TlsVersion "s3:TlsVersion" false Untold;
    IfMatch "s3:if-match" false Request;
    IfNoneMatch "s3:if-none-match" false Request;
    CreationOperation "s3:ObjectCreationOperation" false Request;
    BucketTag "s3:BucketTag" true Untold;
    AccessPointTag "s3:AccessPointTag" true Absent;
    AccessPointOrigin "s3:AccessPointNetworkOrigin" false Absent;
    AccessPointArn "s3:DataAccessPointArn" false Absent;
    AccessPointAccount "s3:DataAccessPointAccount" false Absent;
    AccessGrantScope "s3:AccessGrantScope" false Absent;
    AccessGrantsInstance "s3:AccessGrantsInstanceArn" false Absent;
    AccessGrantsLocation "s3:AccessGrantsLocationScope" false Absent;
    InventoryFields "s3:InventoryAccessibleOptionalFields" false Body;
    JobCause "s3:JobSuspendedCause" false Absent;
    JobOperation "s3:RequestJobOperation" false Absent;
    JobPriority "s3:RequestJobPriority" false Absent;
    ExistingJobOperation "s3:ExistingJobOperation" false Absent;
    ExistingJobPriority "s3:ExistingJobPriority" false Absent;
    ReplicationPause "s3:isReplicationPauseRequest" false Absent;
    ReplicationDestination "s3:destinationRegion" false Absent;
    PolicyArn "iam:PolicyARN" false Absent;
    PermissionsBoundary "iam:PermissionsBoundary" false Absent;
    PassedToService "iam:PassedToService" false Absent;
    AssociatedResource "iam:AssociatedResourceArn" false Absent;
    ServiceName "iam:AWSServiceName" false Absent;
    IamResourceTag "iam:ResourceTag" true Absent;
    ExternalId "sts:ExternalId" false Absent;
    RoleSessionName "sts:RoleSessionName" false Absent;
    StsSourceIdentity "sts:SourceIdentity" false Absent;
    TransitiveTagKeys "sts:TransitiveTagKeys" false Absent;
    DurationSeconds "sts:DurationSeconds" false Absent;
}

/// A condition key as a policy names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub name: Name,
    /// What stands behind the slash of a family.
    pub parameter: Option<Box<str>>,
}

impl Key {
    /// `None` for a name that nobody has.
    pub fn parse(text: &str) -> Option<Key> {
        let (base, parameter) = match text.split_once('/') {
            Some((base, parameter)) => (base, Some(parameter)),
            None => (text, None),
        };
        let known = NAMES.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(base));
        match (known, parameter) {
            (Some((name, _, true)), Some(parameter)) if !parameter.is_empty() => {
                Some(Key { name: *name, parameter: Some(parameter.into()) })
            }
            (Some((name, _, false)), None) => Some(Key { name: *name, parameter: None }),
            (Some(_), _) => None,
            (None, _) => foreign(base),
        }
    }

    pub fn name(&self) -> &'static str {
        self.name.text()
    }

    pub fn is_foreign(&self) -> bool {
        self.name == Name::Foreign
    }
}

fn foreign(text: &str) -> Option<Key> {
    let (service, name) = text.split_once(':')?;
    let ours = ["aws", "s3", "iam", "sts"].iter().any(|known| service.eq_ignore_ascii_case(known));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_';
    let formed = !service.is_empty() && !name.is_empty() && service.bytes().chain(name.bytes()).all(plain);
    (!ours && formed).then_some(Key { name: Name::Foreign, parameter: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_families_need_a_parameter() {
        let name = |text: &str| Key::parse(text).map(|key| key.name);
        assert_eq!(name("AWS:sourceip"), Some(Name::SourceIp));
        assert_eq!(name("s3:X-Amz-Acl"), Some(Name::Acl));
        let tag = Key::parse("s3:existingobjecttag/Color/x").unwrap();
        assert_eq!((tag.name, tag.parameter.as_deref()), (Name::ExistingObjectTag, Some("Color/x")));
        assert_eq!(name("ec2:Region"), Some(Name::Foreign));
        for wrong in
            ["", "prefix", "s3:", "s3:nothing", "aws:x", "s3:ExistingObjectTag", "s3:prefix/x", "a:b c"]
        {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_name_stands_twice() {
        for (at, (_, text, _)) in NAMES.iter().enumerate() {
            assert!(!NAMES[..at].iter().any(|(_, other, _)| other.eq_ignore_ascii_case(text)), "{text}");
        }
    }
}
