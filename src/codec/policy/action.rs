//! The actions that a policy can name and a request can need, and sets of them.
//!
//! Owns the list: the actions of the service authorization references of S3, IAM and STS. Patterns
//! such as `s3:Get*` become sets when a policy is parsed, so that judging a request is one bit.
//! An action of these services that no list has is a mistake of whoever wrote the policy; actions of other
//! services can never be asked of this server and name nothing.

use super::pattern::glob;

macro_rules! actions {
    ($($service:literal { $($name:ident)* })*) => {
        /// What a request wants to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($($name,)*)* }

        impl Action {
            pub const ALL: &'static [Action] = &[$($(Action::$name,)*)*];

            /// `s3:GetObject` and the like.
            pub const fn name(self) -> &'static str {
                match self { $($(Action::$name => concat!($service, ":", stringify!($name)),)*)* }
            }
        }
    };
}

// tidy: table
actions! {
    "s3" {
        AbortMultipartUpload AssociateAccessGrantsIdentityCenter BypassGovernanceRetention
        CreateAccessGrant CreateAccessGrantsInstance
        CreateAccessGrantsLocation CreateAccessPoint CreateAccessPointForObjectLambda CreateBucket
        CreateBucketMetadataTableConfiguration CreateJob CreateMultiRegionAccessPoint CreateStorageLensGroup
        DeleteAccessGrant DeleteAccessGrantsInstance DeleteAccessGrantsInstanceResourcePolicy
        DeleteAccessGrantsLocation DeleteAccessPoint DeleteAccessPointForObjectLambda DeleteAccessPointPolicy
        DeleteAccessPointPolicyForObjectLambda DeleteBucket DeleteBucketMetadataTableConfiguration
        DeleteBucketOwnershipControls DeleteBucketPolicy DeleteBucketPublicAccessBlock DeleteBucketTagging
        DeleteBucketWebsite DeleteBucketCORS DeleteJobTagging DeleteMultiRegionAccessPoint DeleteObject
        DeleteObjectTagging DeleteObjectVersion DeleteObjectVersionTagging DeleteStorageLensConfiguration
        DeleteStorageLensConfigurationTagging DeleteStorageLensGroup DescribeJob
        DescribeMultiRegionAccessPointOperation GetAccelerateConfiguration GetAccessGrant
        GetAccessGrantsInstance GetAccessPoint GetAccessPointPolicy GetAccessPointPolicyStatus
        GetAccountPublicAccessBlock GetAnalyticsConfiguration GetBucketAcl GetBucketAbac GetBucketCORS
        GetBucketLocation GetBucketLogging GetBucketMetadataTableConfiguration GetBucketNotification
        GetBucketObjectLockConfiguration GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus
        GetBucketPublicAccessBlock GetBucketRequestPayment GetBucketTagging GetBucketVersioning
        GetBucketWebsite GetDataAccess GetEncryptionConfiguration GetIntelligentTieringConfiguration
        GetInventoryConfiguration GetJobTagging GetLifecycleConfiguration GetMetricsConfiguration
        GetMultiRegionAccessPoint GetMultiRegionAccessPointPolicy GetMultiRegionAccessPointPolicyStatus
        GetMultiRegionAccessPointRoutes GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold
        GetObjectRetention GetObjectTagging GetObjectTorrent GetObjectVersion GetObjectVersionAcl
        GetObjectVersionAttributes GetObjectVersionForReplication GetObjectVersionTagging
        GetObjectVersionTorrent GetReplicationConfiguration GetStorageLensConfiguration
        GetStorageLensConfigurationTagging GetStorageLensDashboard GetStorageLensGroup
        InitiateReplication ListAccessGrants ListAccessPoints ListAllMyBuckets ListBucket
        ListBucketMultipartUploads ListBucketVersions ListJobs ListMultiRegionAccessPoints
        ListMultipartUploadParts ListStorageLensConfigurations ListStorageLensGroups ListTagsForResource
        ObjectOwnerOverrideToBucketOwner PauseReplication PutAccelerateConfiguration
        PutAccessPointPolicy PutAccessPointPublicAccessBlock PutAccountPublicAccessBlock
        PutAnalyticsConfiguration PutBucketAcl PutBucketAbac PutBucketCORS PutBucketLogging
        PutBucketNotification PutBucketObjectLockConfiguration PutBucketOwnershipControls PutBucketPolicy
        PutBucketPublicAccessBlock PutBucketRequestPayment PutBucketTagging PutBucketVersioning
        PutBucketWebsite PutEncryptionConfiguration PutIntelligentTieringConfiguration
        PutInventoryConfiguration PutJobTagging PutLifecycleConfiguration PutMetricsConfiguration
        PutMultiRegionAccessPointPolicy PutObject PutObjectAcl PutObjectLegalHold PutObjectRetention
        PutObjectTagging PutObjectVersionAcl PutObjectVersionTagging PutReplicationConfiguration
        PutStorageLensConfiguration PutStorageLensConfigurationTagging ReplicateDelete ReplicateObject
        ReplicateTags RestoreObject SubmitMultiRegionAccessPointRoutes TagResource UntagResource
        UpdateAccessGrantsLocation UpdateBucketMetadataInventoryTableConfiguration
        UpdateBucketMetadataJournalTableConfiguration UpdateJobPriority UpdateJobStatus
        UpdateObjectEncryption UpdateStorageLensGroup DissociateAccessGrantsIdentityCenter
        GetAccessGrantsInstanceForPrefix GetAccessGrantsInstanceResourcePolicy GetAccessGrantsLocation
        GetAccessPointConfigurationForObjectLambda GetAccessPointForObjectLambda
        GetAccessPointPolicyForObjectLambda GetAccessPointPolicyStatusForObjectLambda
        ListAccessGrantsInstances ListAccessGrantsLocations ListAccessPointsForObjectLambda
        ListCallerAccessGrants PutAccessGrantsInstanceResourcePolicy
        PutAccessPointConfigurationForObjectLambda PutAccessPointPolicyForObjectLambda
    }
    "iam" {
        CreateUser GetUser ListUsers UpdateUser DeleteUser
        CreateAccessKey ListAccessKeys UpdateAccessKey DeleteAccessKey GetAccessKeyLastUsed
        PutUserPolicy GetUserPolicy ListUserPolicies DeleteUserPolicy
        CreateGroup GetGroup ListGroups UpdateGroup DeleteGroup AddUserToGroup RemoveUserFromGroup
        ListGroupsForUser PutGroupPolicy GetGroupPolicy ListGroupPolicies DeleteGroupPolicy
        CreateRole GetRole ListRoles UpdateRole DeleteRole PassRole PutRolePolicy GetRolePolicy
        ListRolePolicies DeleteRolePolicy UpdateAssumeRolePolicy CreatePolicy GetPolicy ListPolicies
        DeletePolicy CreatePolicyVersion DeletePolicyVersion GetPolicyVersion ListPolicyVersions
        SetDefaultPolicyVersion AttachUserPolicy DetachUserPolicy ListAttachedUserPolicies
        AttachGroupPolicy DetachGroupPolicy ListAttachedGroupPolicies AttachRolePolicy DetachRolePolicy
        ListAttachedRolePolicies ListEntitiesForPolicy TagUser UntagUser ListUserTags GetAccountSummary
        ListAccountAliases GetAccountAuthorizationDetails SimulatePrincipalPolicy SimulateCustomPolicy
        CreateAccountAlias DeleteAccountAlias ChangePassword CreateLoginProfile GetLoginProfile
        UpdateLoginProfile DeleteLoginProfile GetAccountPasswordPolicy UpdateAccountPasswordPolicy
        DeleteAccountPasswordPolicy CreateVirtualMFADevice DeleteVirtualMFADevice EnableMFADevice
        DeactivateMFADevice ResyncMFADevice GetMFADevice ListMFADevices ListVirtualMFADevices
        UploadSSHPublicKey GetSSHPublicKey UpdateSSHPublicKey DeleteSSHPublicKey ListSSHPublicKeys
        UploadSigningCertificate UpdateSigningCertificate DeleteSigningCertificate ListSigningCertificates
        CreateServiceSpecificCredential UpdateServiceSpecificCredential DeleteServiceSpecificCredential
        ResetServiceSpecificCredential ListServiceSpecificCredentials CreateServiceLinkedRole
        DeleteServiceLinkedRole GetServiceLinkedRoleDeletionStatus UpdateRoleDescription TagRole UntagRole
        ListRoleTags TagPolicy UntagPolicy ListPolicyTags ListPoliciesGrantingServiceAccess
        PutUserPermissionsBoundary DeleteUserPermissionsBoundary PutRolePermissionsBoundary
        DeleteRolePermissionsBoundary CreateInstanceProfile GetInstanceProfile DeleteInstanceProfile
        AddRoleToInstanceProfile RemoveRoleFromInstanceProfile ListInstanceProfiles
        ListInstanceProfilesForRole CreateOpenIDConnectProvider GetOpenIDConnectProvider
        DeleteOpenIDConnectProvider ListOpenIDConnectProviders AddClientIDToOpenIDConnectProvider
        RemoveClientIDFromOpenIDConnectProvider UpdateOpenIDConnectProviderThumbprint CreateSAMLProvider
        GetSAMLProvider UpdateSAMLProvider DeleteSAMLProvider ListSAMLProviders UploadServerCertificate
        GetServerCertificate UpdateServerCertificate DeleteServerCertificate ListServerCertificates
        GenerateCredentialReport GetCredentialReport GenerateServiceLastAccessedDetails
        GetServiceLastAccessedDetails GetContextKeysForCustomPolicy GetContextKeysForPrincipalPolicy
        TagMFADevice UntagMFADevice ListMFADeviceTags EnableOrganizationsRootSessions
        DisableOrganizationsRootSessions
    }
    "sts" {
        AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity DecodeAuthorizationMessage
        GetAccessKeyInfo GetCallerIdentity GetFederationToken GetSessionToken GetServiceBearerToken
        SetSourceIdentity TagSession AssumeRoot GetDelegatedAccessToken SetContext
    }
}

impl Action {
    /// Whether it is done to an object, so that a policy names it with a resource `bucket/key`.
    pub fn is_on_object(self) -> bool {
        use Action::*;
        match self {
            AbortMultipartUpload
            | BypassGovernanceRetention
            | ListMultipartUploadParts
            | ReplicateDelete
            | ReplicateTags => true,
            GetBucketObjectLockConfiguration | PutBucketObjectLockConfiguration => false,
            other => {
                let name = other.name();
                name.starts_with("s3:") && name.contains("Object") && !name.contains("ObjectLambda")
            }
        }
    }
}

const WORDS: usize = Action::ALL.len().div_ceil(64);

/// Some of the actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionSet([u64; WORDS]);

impl ActionSet {
    pub fn contains(&self, action: Action) -> bool {
        let at = action as usize;
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub(super) fn of(member: impl Fn(Action) -> bool) -> ActionSet {
        let mut set = ActionSet::default();
        Action::ALL.iter().filter(|action| member(**action)).for_each(|action| set.insert(*action));
        set
    }

    /// Whether an action is in both.
    pub(super) fn meets(&self, other: &ActionSet) -> bool {
        self.0.iter().zip(&other.0).any(|(one, two)| one & two != 0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn insert(&mut self, action: Action) {
        let at = action as usize;
        if let Some(word) = self.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    pub fn extend(&mut self, other: ActionSet) {
        self.0.iter_mut().zip(other.0).for_each(|(word, more)| *word |= more);
    }

    /// The actions a pattern of a policy means; `None` when it is not one: no service, a strange
    /// letter, or a name that its service does not have.
    pub fn of_pattern(pattern: &str) -> Option<ActionSet> {
        let mut set = ActionSet::default();
        if pattern == "*" {
            Action::ALL.iter().for_each(|action| set.insert(*action));
            return Some(set);
        }
        let (service, name) = pattern.split_once(':')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'*' || byte == b'?';
        let formed = !service.is_empty() && !name.is_empty();
        if !formed || !service.bytes().all(plain) || !name.bytes().all(|b| plain(b) || b == b'_') {
            return None;
        }
        let pattern = pattern.to_ascii_lowercase();
        for action in Action::ALL {
            if glob(pattern.as_bytes(), action.name().to_ascii_lowercase().as_bytes()) {
                set.insert(*action);
            }
        }
        // Another service's action is somebody else's business.
        let ours = ["s3", "iam", "sts"].iter().any(|known| service.eq_ignore_ascii_case(known));
        (!ours || !set.is_empty()).then_some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_sets() {
        let has = |pattern: &str, action| ActionSet::of_pattern(pattern).unwrap().contains(action);
        assert!(has("s3:GetObject", Action::GetObject) && !has("s3:GetObject", Action::GetObjectVersion));
        assert!(has("s3:getobject*", Action::GetObjectVersion));
        assert!(has("S3:*", Action::PutObject) && !has("s3:*", Action::CreateUser));
        assert!(has("*", Action::CreateUser) && has("s3:Get?bject", Action::GetObject));
        assert!(has("iam:*AccessKey", Action::CreateAccessKey));
        assert!(ActionSet::of_pattern("ec2:RunInstances").unwrap().is_empty());
        for wrong in ["", "s3", "s3:", ":GetObject", "s3:NoSuchThing", "s3:Get Object", "s3:x*", "GetObject"]
        {
            assert_eq!(ActionSet::of_pattern(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_are_whole() {
        assert_eq!(Action::GetCallerIdentity.name(), "sts:GetCallerIdentity");
        for action in Action::ALL {
            assert!(ActionSet::of_pattern(action.name()).unwrap().contains(*action));
        }
    }
}
