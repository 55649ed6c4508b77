//! The root credentials: made once, kept in files of mode 0600, never printed again.
//!
//! A pool of directories keeps a copy in each of them, so that losing drives loses no credentials; the
//! first readable copy wins, and missing copies are made anew. The file has the form of an AWS credentials
//! file, so clients can be pointed at it. Randomness comes from outside, as part of the world; the file
//! itself is an ordinary one, read and written once at start by the standard library.
//!
//! Invariants: a file that others may read is refused, not used; a new file is complete and on the drive
//! (fsync of file and directory) before anyone learns the keys; random keys are made only when every place
//! is known to hold none, so that a drive that fails for a moment cannot change who owns the store.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::base::limits;
use crate::iam::secret;

/// Where the file is when no drive is a directory.
pub const CREDENTIALS_FILE_DEFAULT: &str = "/var/lib/basalt/credentials";
/// Its name in a drive directory.
pub const CREDENTIALS_FILE_NAME: &str = "credentials";

/// An access key and its secret. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(
        "an access key is {} to {} letters, digits, dashes and underscores",
        limits::ACCESS_KEY_BYTES_MIN,
        limits::ACCESS_KEY_BYTES_MAX
    )]
    AccessKey,
    #[error(
        "a secret key is {} to {} printable ASCII characters without spaces",
        limits::SECRET_KEY_BYTES_MIN,
        limits::SECRET_KEY_BYTES_MAX
    )]
    SecretKey,
    #[error("no credentials file at {0}; name the server's file with --credentials")]
    Absent(PathBuf),
    #[error("the credentials file {path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`")]
    Mode { path: PathBuf, mode: u32 },
    #[error("the credentials file {path} is not usable: {reason}; restore it, or remove it to make new ones")]
    Form { path: PathBuf, reason: String },
    #[error("cannot {action} the credentials file {path}: {source}; --credentials may name another")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Credentials {
    /// Checks the bounds that clients and signatures need.
    pub fn new(access_key: String, secret_key: String) -> Result<Credentials, CredentialsError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let bounds = limits::ACCESS_KEY_BYTES_MIN..=limits::ACCESS_KEY_BYTES_MAX;
        if !bounds.contains(&access_key.len()) || !access_key.bytes().all(word) {
            return Err(CredentialsError::AccessKey);
        }
        let bounds = limits::SECRET_KEY_BYTES_MIN..=limits::SECRET_KEY_BYTES_MAX;
        if !bounds.contains(&secret_key.len()) || !secret_key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(CredentialsError::SecretKey);
        }
        Ok(Credentials { access_key, secret_key })
    }

    /// Random credentials from `fill`, which fills a buffer with randomness of the operating system.
    pub fn random(fill: Fill<'_>) -> Credentials {
        let access_key =
            secret::text(fill, b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", limits::ACCESS_KEY_BYTES_NEW);
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let secret_key = secret::text(fill, letters, limits::SECRET_KEY_BYTES_NEW);
        Credentials::new(access_key, secret_key).expect("random keys are within the bounds")
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Credentials, CredentialsError> {
        parse(path, &read_private(path)?)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, ...)", self.access_key)
    }
}

/// Fills a buffer with randomness.
pub type Fill<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What `establish` found or made.
#[derive(Debug, PartialEq, Eq)]
pub struct Established {
    pub credentials: Credentials,
    /// The copy that was read, or the first that was written.
    pub path: PathBuf,
    /// Made just now: to be printed, this once.
    pub created: bool,
}

/// What a person sees once, after the first start: the keys, and lines to paste. `endpoint` is the URL the
/// server answers at.
pub fn welcome(established: &Established, endpoint: &str, region: &str) -> String {
    let Credentials { access_key, secret_key } = &established.credentials;
    let path = established.path.display();
    format!(
        "New root credentials, kept in {path} and shown only now:\n\n  \
         access key  {access_key}\n  secret key  {secret_key}\n\nTo use them with the AWS command line:\n\n  \
         export AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key}\n  \
         export AWS_ENDPOINT_URL={endpoint} AWS_DEFAULT_REGION={region}\n  \
         aws s3 mb s3://first\n  aws s3 cp /etc/hostname s3://first/\n  aws s3 ls s3://first/\n\n"
    )
}

/// Where the file belongs for these drives: in each one that is not a block device, or at the default
/// place when all are.
pub fn places(drives: &[PathBuf]) -> Vec<PathBuf> {
    let is_device = |path: &Path| fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device());
    let places: Vec<PathBuf> =
        drives.iter().filter(|path| !is_device(path)).map(|path| path.join(CREDENTIALS_FILE_NAME)).collect();
    if places.is_empty() { vec![PathBuf::from(CREDENTIALS_FILE_DEFAULT)] } else { places }
}

/// Reads the credentials from the first place that has them and copies them to places that lack them, or
/// makes random ones when no place has any. Directories of drives exist by then; a place whose directory
/// does not exist is skipped, unless it is the only place.
pub fn establish(places: &[PathBuf], fill: Fill<'_>) -> Result<Established, CredentialsError> {
    assert!(!places.is_empty(), "there is always a place for the credentials");
    let found: Vec<_> = places.iter().map(|path| (path, Credentials::read(path))).collect();
    let first_good = found.iter().find_map(|(path, read)| Some((*path, read.as_ref().ok()?.clone())));
    let absent: Vec<&Path> = found
        .iter()
        .filter(|(_, read)| matches!(read, Err(CredentialsError::Absent(_))))
        .map(|(path, _)| path.as_path())
        .collect();
    if let Some((path, credentials)) = first_good {
        let path = path.clone();
        report_other_copies(&found, &credentials)?;
        copy_to(&absent, &credentials);
        return Ok(Established { credentials, path, created: false });
    }
    if let Some((_, Err(error))) =
        found.into_iter().find(|(_, read)| !matches!(read, Err(CredentialsError::Absent(_))))
    {
        return Err(error);
    }
    create(places, fill)
}

fn create(places: &[PathBuf], fill: Fill<'_>) -> Result<Established, CredentialsError> {
    let credentials = Credentials::random(fill);
    let has_directory = |path: &&PathBuf| path.parent().is_some_and(Path::is_dir);
    let mut usable: Vec<&PathBuf> = places.iter().filter(has_directory).collect();
    if usable.is_empty() {
        let first = &places[0];
        make_directory(first)?;
        usable.push(first);
    }
    for path in &usable {
        write_private(path, &credentials)?;
    }
    Ok(Established { credentials, path: usable[0].clone(), created: true })
}

/// A copy with wrong permissions is refused even when another copy is good: it has leaked the same keys.
fn report_other_copies(
    found: &[(&PathBuf, Result<Credentials, CredentialsError>)],
    credentials: &Credentials,
) -> Result<(), CredentialsError> {
    for (path, read) in found {
        match read {
            Err(CredentialsError::Mode { path, mode }) => {
                return Err(CredentialsError::Mode { path: path.clone(), mode: *mode });
            }
            Err(CredentialsError::Absent(_)) => {}
            Err(error) => tracing::warn!("{error}"),
            Ok(other) if other != credentials => {
                tracing::warn!(
                    "the credentials file {} differs from the first one and is ignored",
                    path.display()
                );
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

fn copy_to(places: &[&Path], credentials: &Credentials) {
    for path in places.iter().filter(|path| path.parent().is_some_and(Path::is_dir)) {
        match write_private(path, credentials) {
            Ok(()) => tracing::info!("wrote a copy of the credentials to {}", path.display()),
            Err(error) => tracing::warn!("{error}"),
        }
    }
}

// ---- The file ----

fn render(credentials: &Credentials) -> String {
    format!(
        "# Root credentials of this Basalt store. Keep them secret: whoever has them owns every object.\n\
         # Clients read this file when AWS_SHARED_CREDENTIALS_FILE names it.\n\
         [default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        credentials.access_key, credentials.secret_key
    )
}

fn parse(path: &Path, text: &str) -> Result<Credentials, CredentialsError> {
    let form = |reason: &str| CredentialsError::Form { path: path.to_owned(), reason: reason.to_owned() };
    let (mut access_key, mut secret_key) = (None, None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') || line == "[default]" {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| form("a line is not `name = value`"))?;
        let slot = match name.trim() {
            "aws_access_key_id" => &mut access_key,
            "aws_secret_access_key" => &mut secret_key,
            other => return Err(form(&format!("unknown name `{other}`"))),
        };
        if slot.replace(value.trim().to_owned()).is_some() {
            return Err(form("a name stands twice"));
        }
    }
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => {
            Credentials::new(access_key, secret_key).map_err(|e| form(&e.to_string()))
        }
        _ => Err(form("it needs aws_access_key_id and aws_secret_access_key")),
    }
}

fn read_private(path: &Path) -> Result<String, CredentialsError> {
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => CredentialsError::Absent(path.to_owned()),
        _ => CredentialsError::Io { action: "read", path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(failed)?;
    // Asked of the open file, so that what is checked is what is read.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_file() {
        return Err(CredentialsError::Form { path: path.to_owned(), reason: "it is not a file".to_owned() });
    }
    if mode & 0o077 != 0 {
        return Err(CredentialsError::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    let read = file.take(limits::CREDENTIALS_FILE_BYTES_MAX).read_to_string(&mut text);
    match read {
        Ok(_) => Ok(text),
        Err(e) if e.kind() == ErrorKind::InvalidData => {
            Err(CredentialsError::Form { path: path.to_owned(), reason: "it is not text".to_owned() })
        }
        Err(e) => Err(failed(e)),
    }
}

/// Writes beside the place and renames: the file is absent or whole, whatever happens in between.
fn write_private(path: &Path, credentials: &Credentials) -> Result<(), CredentialsError> {
    let failed = |source| CredentialsError::Io { action: "write", path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    match fs::remove_file(&beside) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(render(credentials).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(directory_of(path))?.sync_all()
    };
    write().map_err(failed)
}

fn make_directory(path: &Path) -> Result<(), CredentialsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory_of(path));
    made.map_err(|source| CredentialsError::Io {
        action: "make the directory of",
        path: path.to_owned(),
        source,
    })
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut(&mut [u8]) {
        let mut next = 0u8;
        move |bytes| {
            bytes.fill_with(|| {
                next = next.wrapping_add(37);
                next
            });
        }
    }

    fn pool(directory: &Path, drives: usize) -> Vec<PathBuf> {
        let drives: Vec<PathBuf> = (0..drives).map(|n| directory.join(format!("d{n}"))).collect();
        drives.iter().for_each(|d| fs::create_dir(d).expect("a drive"));
        places(&drives)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    #[test]
    fn the_first_start_makes_them_and_the_second_reads_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = pool(directory.path(), 3);
        let first = establish(&places, &mut counting()).expect("made");
        assert!(first.created);
        assert_eq!(first.credentials.access_key.len(), limits::ACCESS_KEY_BYTES_NEW);
        assert_eq!(first.credentials.secret_key.len(), limits::SECRET_KEY_BYTES_NEW);
        for place in &places {
            let mode = fs::metadata(place).expect("written").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let second = establish(&places, &mut |_| panic!("nothing random is needed")).expect("read");
        assert_eq!((second.created, second.credentials), (false, first.credentials));
    }

    #[test]
    fn losing_drives_loses_no_credentials_and_they_come_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = pool(directory.path(), 4);
        let made = establish(&places, &mut counting()).expect("made");
        fs::remove_file(&places[0]).expect("removed");
        fs::remove_dir_all(places[1].parent().expect("a drive")).expect("removed");
        fs::write(&places[2], "torn").expect("damaged");
        let read = establish(&places, &mut |_| panic!("nothing random is needed")).expect("read");
        assert_eq!((&read.credentials, &read.path), (&made.credentials, &places[3]));
        assert_eq!(Credentials::read(&places[0]).expect("copied"), made.credentials);
        assert!(!places[1].exists(), "a missing drive is not made up");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = pool(directory.path(), 2);
        establish(&places, &mut counting()).expect("made");
        for mode in [0o640, 0o604, 0o660, 0o777] {
            set_mode(&places[1], mode);
            let error = establish(&places, &mut counting()).expect_err("refused").to_string();
            assert!(error.contains("chmod 600") && error.contains("d1"), "{error}");
        }
        set_mode(&places[1], 0o400);
        assert!(establish(&places, &mut counting()).is_ok());
    }

    #[test]
    fn a_damaged_only_copy_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let places = pool(directory.path(), 1);
        for text in ["", "[default]\n", "aws_access_key_id = AKEXAMPLE0000000\n", "x = 1\n", "rubbish\n"] {
            fs::write(&places[0], text).expect("written");
            set_mode(&places[0], 0o600);
            let error = establish(&places, &mut |_| panic!("none are made")).expect_err("refused");
            assert!(matches!(error, CredentialsError::Form { .. }), "{error}");
        }
        fs::write(&places[0], [0xff, 0xfe]).expect("written");
        assert!(matches!(Credentials::read(&places[0]), Err(CredentialsError::Form { .. })));
    }

    #[test]
    fn a_named_file_gets_its_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("etc/basalt/keys");
        let made = establish(std::slice::from_ref(&place), &mut counting()).expect("made");
        assert_eq!(Credentials::read(&place).expect("read"), made.credentials);
        let mode = fs::metadata(place.parent().expect("a parent")).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn the_welcome_can_be_pasted() {
        let credentials = Credentials::random(&mut counting());
        let made = Established { credentials, path: PathBuf::from("d/credentials"), created: true };
        let text = welcome(&made, "http://127.0.0.1:9000", "us-east-1");
        let exports: Vec<&str> = text.lines().filter(|line| line.starts_with("  export ")).collect();
        assert!(exports[0].contains(&format!("AWS_SECRET_ACCESS_KEY={}", made.credentials.secret_key)));
        assert_eq!(
            exports[1],
            "  export AWS_ENDPOINT_URL=http://127.0.0.1:9000 AWS_DEFAULT_REGION=us-east-1"
        );
    }

    #[test]
    fn without_directories_the_default_place_is_used() {
        assert_eq!(places(&[]), [PathBuf::from(CREDENTIALS_FILE_DEFAULT)]);
    }

    #[test]
    fn keys_that_clients_could_not_use_are_refused() {
        let good = "x".repeat(20);
        for bad in ["", "short", "has space in it 00", "slash/slash/slash", "ümlaut-ümlaut-ümlaut"] {
            assert!(Credentials::new(bad.to_owned(), good.clone()).is_err(), "{bad}");
        }
        for bad in ["", "short", "has space in it 00", "ümlaut-ümlaut-ümlaut"] {
            assert!(Credentials::new(good.clone(), bad.to_owned()).is_err(), "{bad}");
        }
    }
}
