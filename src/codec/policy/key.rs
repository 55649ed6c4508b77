//! The condition keys a policy can name: those of every request (`aws:`), of S3, of IAM and STS.
//!
//! Names are compared without regard to case. Some keys are families, as `s3:ExistingObjectTag/<tag>`;
//! the part behind the slash keeps its case. A key that is known and that this server can never have a
//! value for (there are no VPCs here) is simply absent from every request, as it is on AWS for requests
//! that do not come that way. Keys of services that are not here are `Foreign` and absent too.

macro_rules! names {
    ($($name:ident $text:literal $family:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Name { $($name,)* Foreign }

        /// Name, text, and whether a parameter follows a slash.
        const NAMES: &[(Name, &str, bool)] = &[$((Name::$name, $text, $family),)*];

        impl Name {
            pub const fn text(self) -> &'static str {
                match self { $(Name::$name => $text,)* Name::Foreign => "" }
            }
        }
    };
}

// tidy: table
names! {
    CurrentTime "aws:CurrentTime" false;
    EpochTime "aws:EpochTime" false;
    SourceIp "aws:SourceIp" false;
    SecureTransport "aws:SecureTransport" false;
    UserAgent "aws:UserAgent" false;
    Referer "aws:Referer" false;
    PrincipalArn "aws:PrincipalArn" false;
    PrincipalAccount "aws:PrincipalAccount" false;
    PrincipalType "aws:PrincipalType" false;
    UserId "aws:userid" false;
    UserName "aws:username" false;
    PrincipalIsService "aws:PrincipalIsAWSService" false;
    PrincipalServiceName "aws:PrincipalServiceName" false;
    RequestedRegion "aws:RequestedRegion" false;
    ResourceAccountGlobal "aws:ResourceAccount" false;
    SourceAccount "aws:SourceAccount" false;
    SourceArn "aws:SourceArn" false;
    RequestTag "aws:RequestTag" true;
    ResourceTag "aws:ResourceTag" true;
    TagKeys "aws:TagKeys" false;
    PrincipalTag "aws:PrincipalTag" true;
    PrincipalServiceNames "aws:PrincipalServiceNamesList" false;
    PrincipalOrgId "aws:PrincipalOrgID" false;
    PrincipalOrgPaths "aws:PrincipalOrgPaths" false;
    ResourceOrgId "aws:ResourceOrgID" false;
    ResourceOrgPaths "aws:ResourceOrgPaths" false;
    SourceOrgId "aws:SourceOrgID" false;
    SourceOrgPaths "aws:SourceOrgPaths" false;
    SourceOwner "aws:SourceOwner" false;
    SourceVpc "aws:SourceVpc" false;
    SourceVpce "aws:SourceVpce" false;
    SourceVpcArn "aws:SourceVpcArn" false;
    VpcSourceIp "aws:VpcSourceIp" false;
    VpceAccount "aws:VpceAccount" false;
    VpceOrgId "aws:VpceOrgID" false;
    VpceOrgPaths "aws:VpceOrgPaths" false;
    ViaService "aws:ViaAWSService" false;
    CalledVia "aws:CalledVia" false;
    CalledViaFirst "aws:CalledViaFirst" false;
    CalledViaLast "aws:CalledViaLast" false;
    FederatedProvider "aws:FederatedProvider" false;
    MultiFactorPresent "aws:MultiFactorAuthPresent" false;
    MultiFactorAge "aws:MultiFactorAuthAge" false;
    TokenIssueTime "aws:TokenIssueTime" false;
    SourceIdentity "aws:SourceIdentity" false;
    InstanceVpc "aws:Ec2InstanceSourceVpc" false;
    InstanceIp "aws:Ec2InstanceSourcePrivateIPv4" false;
    AssumedRoot "aws:AssumedRoot" false;
    ChatbotArn "aws:ChatbotSourceArn" false;
    IsMcp "aws:IsMcpServiceAction" false;
    Prefix "s3:prefix" false;
    Delimiter "s3:delimiter" false;
    MaxKeys "s3:max-keys" false;
    VersionId "s3:VersionId" false;
    Acl "s3:x-amz-acl" false;
    CopySource "s3:x-amz-copy-source" false;
    MetadataDirective "s3:x-amz-metadata-directive" false;
    GrantRead "s3:x-amz-grant-read" false;
    GrantWrite "s3:x-amz-grant-write" false;
    GrantReadAcp "s3:x-amz-grant-read-acp" false;
    GrantWriteAcp "s3:x-amz-grant-write-acp" false;
    GrantFullControl "s3:x-amz-grant-full-control" false;
    Encryption "s3:x-amz-server-side-encryption" false;
    EncryptionKey "s3:x-amz-server-side-encryption-aws-kms-key-id" false;
    EncryptionCustomer "s3:x-amz-server-side-encryption-customer-algorithm" false;
    StorageClass "s3:x-amz-storage-class" false;
    WebsiteRedirect "s3:x-amz-website-redirect-location" false;
    ObjectOwnership "s3:x-amz-object-ownership" false;
    ContentSha256 "s3:x-amz-content-sha256" false;
    RequestObjectTag "s3:RequestObjectTag" true;
    RequestObjectTagKeys "s3:RequestObjectTagKeys" false;
    ExistingObjectTag "s3:ExistingObjectTag" true;
    LockMode "s3:object-lock-mode" false;
    LockHold "s3:object-lock-legal-hold" false;
    LockUntil "s3:object-lock-retain-until-date" false;
    LockDays "s3:object-lock-remaining-retention-days" false;
    LocationConstraint "s3:LocationConstraint" false;
    SignatureVersion "s3:signatureversion" false;
    AuthType "s3:authType" false;
    SignatureAge "s3:signatureAge" false;
    ResourceAccount "s3:ResourceAccount" false;
    TlsVersion "s3:TlsVersion" false;
    IfMatch "s3:if-match" false;
    IfNoneMatch "s3:if-none-match" false;
    CreationOperation "s3:ObjectCreationOperation" false;
    BucketTag "s3:BucketTag" true;
    AccessPointTag "s3:AccessPointTag" true;
    AccessPointOrigin "s3:AccessPointNetworkOrigin" false;
    AccessPointArn "s3:DataAccessPointArn" false;
    AccessPointAccount "s3:DataAccessPointAccount" false;
    AccessGrantScope "s3:AccessGrantScope" false;
    AccessGrantsInstance "s3:AccessGrantsInstanceArn" false;
    AccessGrantsLocation "s3:AccessGrantsLocationScope" false;
    InventoryFields "s3:InventoryAccessibleOptionalFields" false;
    JobCause "s3:JobSuspendedCause" false;
    JobOperation "s3:RequestJobOperation" false;
    JobPriority "s3:RequestJobPriority" false;
    ExistingJobOperation "s3:ExistingJobOperation" false;
    ExistingJobPriority "s3:ExistingJobPriority" false;
    ReplicationPause "s3:isReplicationPauseRequest" false;
    ReplicationDestination "s3:destinationRegion" false;
    PolicyArn "iam:PolicyARN" false;
    PermissionsBoundary "iam:PermissionsBoundary" false;
    PassedToService "iam:PassedToService" false;
    AssociatedResource "iam:AssociatedResourceArn" false;
    ServiceName "iam:AWSServiceName" false;
    IamResourceTag "iam:ResourceTag" true;
    ExternalId "sts:ExternalId" false;
    RoleSessionName "sts:RoleSessionName" false;
    StsSourceIdentity "sts:SourceIdentity" false;
    TransitiveTagKeys "sts:TransitiveTagKeys" false;
    DurationSeconds "sts:DurationSeconds" false;
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
