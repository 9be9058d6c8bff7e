//! Tokens: who holds which, read from a file of their owner's alone. Of a token itself nothing is kept but its digest.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::rand::{GetRandomFlags, getrandom};

use super::places::Trust;
use crate::digest::Digest;
use crate::files;
use crate::principal::Principal;

/// Bytes of a file of tokens, and how many it may name.
const MOST_BYTES: u64 = 64 << 10;
const MOST_TOKENS: usize = 256;
/// What nobody guesses, and what fits a header.
const LEAST_TOKEN: usize = 32;
const MOST_TOKEN: usize = 512;
/// Longest name of a principal.
const MOST_NAME: usize = 64;

/// The tokens of a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens(Vec<Token>);

#[derive(Clone, PartialEq, Eq)]
struct Token {
    holder: Principal,
    digest: Digest,
}

impl Tokens {
    /// Reads a file that only its owner, this user or root, can read, by this name alone: a name and a token a line, `#` before
    /// what is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it. No token is part of that.
    pub fn read(path: &Path) -> Result<Self, String> {
        let meta = fs::symlink_metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (uid, mode) = (meta.uid(), meta.mode() & 0o7777);
        if meta.is_symlink() {
            return Err(format!("{} is a link, and must be the file itself", path.display()));
        }
        if uid != rustix::process::geteuid().as_raw() && uid != 0 {
            return Err(format!("{} belongs to uid {uid}", path.display()));
        }
        if mode & 0o077 != 0 {
            let path = path.display();
            return Err(format!("others can read or write {path} (mode {mode:04o}); type: chmod 600 {path}"));
        }
        if meta.nlink() > 1 {
            let (path, names) = (path.display(), meta.nlink());
            return Err(format!("{path} has {names} names, and could be read or written by the others; make a file of its own"));
        }
        let bytes = files::read(path, MOST_BYTES).map_err(|error| format!("{} can not be read: {error}", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{} is no text", path.display()))?;
        Self::parse(&text).map_err(|wrong| format!("{}: {wrong}", path.display()))
    }

    /// Reads such a file, or makes one with a token for [`Principal::local`] where there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or why it can not be made there: nobody else may be able to put another in its place.
    pub fn read_or_make(path: &Path) -> Result<Self, String> {
        let trust = Trust { owner: rustix::process::geteuid().as_raw() };
        trust.end(path).map_err(|fault| format!("{}; {}", fault.wrong, fault.right))?;
        if let Err(error) = make(path)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(format!("{} can not be made: {error}", path.display()));
        }
        Self::read(path)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::<Token>::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let token = token(line).map_err(|wrong| format!("line {number}: {wrong}"))?;
            if tokens.iter().any(|other| other.digest == token.digest) {
                return Err(format!("line {number}: this token stands there already"));
            }
            tokens.push(token);
        }
        match tokens.len() {
            0 => Err("there is no token in it".to_owned()),
            1..=MOST_TOKENS => Ok(Self(tokens)),
            many => Err(format!("{many} tokens are more than {MOST_TOKENS}")),
        }
    }

    /// Who holds this token. What is compared are digests, so that the time it takes tells nothing of the token.
    pub fn holder(&self, token: &[u8]) -> Option<&Principal> {
        let digest = Digest::of(token);
        self.0.iter().find(|token| token.digest == digest).map(|token| &token.holder)
    }

    /// The digests of a principal's tokens.
    pub fn of(&self, holder: &Principal) -> Vec<Digest> {
        self.0.iter().filter(|token| token.holder == *holder).map(|token| token.digest).collect()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| token.holder.as_str())).finish()
    }
}

fn token(line: &str) -> Result<Token, String> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(token), None) = (words.next(), words.next(), words.next()) else {
        return Err("must be a name and a token, with a blank between them".to_owned());
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if name.len() > MOST_NAME || !name.chars().all(is_name) {
        return Err(format!("a name has 1 to {MOST_NAME} characters of a-z, 0-9, `-`, `_` and `.`"));
    }
    if !(LEAST_TOKEN..=MOST_TOKEN).contains(&token.len()) {
        return Err(format!("the token of {name} has {} characters; {LEAST_TOKEN} to {MOST_TOKEN} are right", token.len()));
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !token.chars().all(is_token) {
        return Err(format!("the token of {name} has characters other than letters, digits and -._~+/="));
    }
    Ok(Token { holder: Principal::named(name), digest: Digest::of(token.as_bytes()) })
}

/// Makes a file with a token of 256 random bits.
fn make(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut random = [0; 32];
    if getrandom(&mut random, GetRandomFlags::empty())? != random.len() {
        return Err(io::Error::other("the system gave less randomness than was asked for"));
    }
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!(
        "# Made by portcullis for `serve --http`: a name and a token. Whoever has it can act as you.\n{} {token}\n",
        Principal::local()
    );
    // Whole under its name or not at all, and never under two: another server could read it meanwhile.
    let draft = path.with_extension(uuid::Uuid::new_v4().to_string());
    write(&draft, &text)
        .and_then(|()| Ok(renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE)?))
        .inspect_err(|_| _ = fs::remove_file(&draft))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rstest::rstest;

    use super::*;

    const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz-._~+/=012";

    #[test]
    fn a_token_names_its_holder() {
        let tokens = Tokens::parse(&format!("# people\n\nada {TOKEN}\n  bob\t{TOKEN}3  \nada {TOKEN}4")).unwrap();
        assert_eq!(tokens.holder(TOKEN.as_bytes()), Some(&Principal::named("ada")));
        assert_eq!(tokens.holder(format!("{TOKEN}3").as_bytes()), Some(&Principal::named("bob")));
        assert_eq!(tokens.holder(b""), None);
        assert_eq!(tokens.holder(&TOKEN.as_bytes()[1..]), None);
        assert_eq!(tokens.of(&Principal::named("ada")).len(), 2);
        assert!(!format!("{tokens:?}").contains("abcdef"));
    }

    #[rstest]
    #[case::nothing("")]
    #[case::comment("# ada abcdefghijklmnopqrstuvwxyz012345")]
    #[case::no_name("abcdefghijklmnopqrstuvwxyz012345")]
    #[case::three("ada abcdefghijklmnopqrstuvwxyz012345 x")]
    #[case::name("Ada abcdefghijklmnopqrstuvwxyz012345")]
    #[case::short("ada abcdefghijklmnopqrstuvwxyz01234")]
    #[case::characters("ada abcdefghijklmnopqrstuvwxyz01234\"")]
    #[case::twice("ada abcdefghijklmnopqrstuvwxyz012345\nbob abcdefghijklmnopqrstuvwxyz012345")]
    fn what_is_no_file_of_tokens(#[case] text: &str) {
        let wrong = Tokens::parse(text).unwrap_err();
        assert!(!wrong.contains("abcdef"), "{wrong}");
    }

    #[rstest]
    #[case(0o640)]
    #[case(0o604)]
    #[case(0o602)]
    fn what_others_can_read_is_none(#[case] mode: u32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, format!("ada {TOKEN}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(Tokens::read(&path).unwrap_err().contains("chmod 600"));
    }

    #[test]
    fn what_is_made_once_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/http-token");
        let made = Tokens::read_or_make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(Tokens::read_or_make(&path).unwrap() == made);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
