//! Who is answered: requests that name this server, read only, and know the token where there is one.

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use axum::http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN},
    uri::Authority,
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What requests are held to.
#[derive(Clone, Default)]
pub struct Guard {
    names: Vec<String>,
    token: Option<Token>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name may be one that somebody else's page had resolved to this address (DNS rebinding).
    #[error(
        "memmgr answers only where it is asked for by address, as localhost, or by a name that --allow-host gives"
    )]
    Host,
    /// It cannot read the answer, but it could make this host read for it without end.
    #[error("memmgr answers no question that a page of another site asks")]
    Elsewhere,
    /// Nothing can be changed here.
    #[error("memmgr answers GET and HEAD only")]
    Method,
    /// No token, or another one.
    #[error("send the token of --token-file: `Authorization: Bearer TOKEN`")]
    Token,
    /// No question has a body.
    #[error("memmgr takes no request with a body")]
    Body,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Host => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Elsewhere => StatusCode::FORBIDDEN,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Token => StatusCode::UNAUTHORIZED,
            Refusal::Body => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }
}

impl Guard {
    /// Answers who asks for `localhost`, an address or one of these names, and who knows the token, if there is one.
    pub fn new(mut names: Vec<String>, token: Option<Token>) -> Self {
        names.push("localhost".to_owned());
        Guard { names, token }
    }

    /// Whether a request is answered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.is_for_us(uri, headers) {
            return Err(Refusal::Host);
        }
        if is_from_elsewhere(headers) {
            return Err(Refusal::Elsewhere);
        }
        if self.token.as_ref().is_some_and(|token| !token.is_in(headers)) {
            return Err(Refusal::Token);
        }
        if method != Method::GET && method != Method::HEAD {
            return Err(Refusal::Method);
        }
        Ok(())
    }

    fn is_for_us(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let Some(host) = host.to_str().ok().and_then(|host| host.parse().ok()) else {
            return false;
        };
        self.is_ours(&host) && uri.authority().is_none_or(|named| self.is_ours(named))
    }

    /// The port is not looked at: it is another one behind `ssh -L`, and no other server can be reached by this one's.
    fn is_ours(&self, authority: &Authority) -> bool {
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = bare.strip_suffix('.').unwrap_or(bare);
        // A page whose own address is a number is no other origin in disguise: numbers are not resolved.
        !authority.as_str().contains('@')
            && (bare.parse::<IpAddr>().is_ok()
                || self.names.iter().any(|ours| ours.eq_ignore_ascii_case(name)))
    }
}

/// Whether a browser says that a page of another origin asks: with Fetch Metadata, or an older one with an `Origin` that
/// is not where it asks. Links to here are followed.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let is_other = |origin: &HeaderValue| {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let own = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        own.zip(host).is_none_or(|((_, own), host)| !own.eq_ignore_ascii_case(host))
    };
    if headers.get_all(ORIGIN).iter().any(is_other) {
        return true;
    }
    let is = |name: &str, values: &[&str]| {
        headers.get(name).is_some_and(|value| values.iter().any(|known| value == known))
    };
    is("sec-fetch-site", &["cross-site", "same-site"]) && !is("sec-fetch-mode", &["navigate"])
}

/// What a client must know. Only its hash is kept, so that comparing takes one time whatever is sent.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// There is no token in the file, or not only its owner can know it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token from {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Everybody on the host knows it.
    #[error("everybody can read {}: `chmod 600 {}`", .0.display(), .0.display())]
    Public(PathBuf),
    /// It is too easy to guess, or cannot be sent.
    #[error(
        "the token in {} is none: one line of {} to {} visible ASCII characters is; \
         `head -c 32 /dev/urandom | base64` makes one",
        .0.display(), MIN_TOKEN, MAX_TOKEN
    )]
    Malformed(PathBuf),
}

const MIN_TOKEN: usize = 16;
const MAX_TOKEN: usize = 1024;

impl Token {
    /// Takes a token as it is sent. Nothing if it is none.
    pub fn new(token: &str) -> Option<Self> {
        let fits = (MIN_TOKEN..=MAX_TOKEN).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Token(Sha256::digest(token).into()))
    }

    /// Reads it from a file; white space around it is none of it.
    ///
    /// # Errors
    /// When the file cannot be read, when others than its owner and group can, or when it holds no token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.permissions().mode() & 0o007 != 0 {
            return Err(TokenError::Public(path.to_owned()));
        }
        let mut content = Vec::new();
        file.take(2 * MAX_TOKEN as u64).read_to_end(&mut content).map_err(unreadable)?;
        str::from_utf8(&content)
            .ok()
            .and_then(|token| Token::new(token.trim()))
            .ok_or_else(|| TokenError::Malformed(path.to_owned()))
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        let given: [u8; 32] = Sha256::digest(token.trim()).into();
        scheme.eq_ignore_ascii_case("bearer") && bool::from(given.ct_eq(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(token: Option<&str>) -> Guard {
        Guard::new(vec!["Node7.example".to_owned()], token.map(|token| Token::new(token).unwrap()))
    }

    fn check(
        guard: &Guard,
        request: (&str, &str),
        headers: &[(&str, &str)],
        expected: Result<(), Refusal>,
    ) {
        let mut builder = Request::builder().method(request.0).uri(request.1);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let built = builder.body(()).unwrap();
        let verdict = guard.check(built.method(), built.uri(), built.headers());
        assert_eq!(verdict, expected, "{request:?} {headers:?}");
    }

    #[test]
    fn only_requests_for_this_server_are_answered() {
        let guard = guard(None);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:9464",
            "127.0.0.1:9464",
            "[::1]:9464",
            "10.1.2.3",
            "node7.EXAMPLE:9464",
        ] {
            check(&guard, ("GET", "/"), &[("host", host)], Ok(()));
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "2130706433",
            "a b",
        ] {
            check(&guard, ("GET", "/"), &[("host", host)], Err(Refusal::Host));
        }
        check(&guard, ("GET", "/"), &[], Err(Refusal::Host));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        check(&guard, ("GET", "/"), &twice, Err(Refusal::Host));
        let local = [("host", "localhost")];
        check(&guard, ("GET", "http://localhost/"), &local, Ok(()));
        check(&guard, ("GET", "http://evil.example/"), &local, Err(Refusal::Host));
    }

    #[test]
    fn no_other_page_may_ask() {
        let guard = guard(None);
        for (site, mode, expected) in [
            ("same-origin", "cors", Ok(())),
            ("none", "navigate", Ok(())),
            ("cross-site", "navigate", Ok(())),
            ("cross-site", "no-cors", Err(Refusal::Elsewhere)),
            ("same-site", "cors", Err(Refusal::Elsewhere)),
        ] {
            let headers =
                [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            check(&guard, ("GET", "/"), &headers, expected);
        }
        for (origin, expected) in [
            ("http://localhost:8080", Ok(())),
            ("https://LOCALHOST:8080", Ok(())),
            ("http://localhost", Err(Refusal::Elsewhere)),
            ("http://evil.example", Err(Refusal::Elsewhere)),
            ("null", Err(Refusal::Elsewhere)),
        ] {
            let headers = [("host", "localhost:8080"), ("origin", origin)];
            check(&guard, ("GET", "/"), &headers, expected);
        }
    }

    #[test]
    fn nothing_can_be_written() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"] {
            let host = [("host", "localhost")];
            check(&guard(None), (method, "/"), &host, Err(Refusal::Method));
        }
        check(&guard(None), ("HEAD", "/"), &[("host", "localhost")], Ok(()));
    }

    #[test]
    fn the_token_is_asked_for() {
        let guard = guard(Some(TOKEN));
        let host = ("host", "localhost");
        for (sent, expected) in [
            ("Bearer 0123456789abcdef", Ok(())),
            ("bearer  0123456789abcdef", Ok(())),
            ("Bearer 0123456789abcdeF", Err(Refusal::Token)),
            ("Bearer 0123456789abcdef0", Err(Refusal::Token)),
            ("Bearer ", Err(Refusal::Token)),
            ("Basic 0123456789abcdef", Err(Refusal::Token)),
            ("0123456789abcdef", Err(Refusal::Token)),
        ] {
            check(&guard, ("GET", "/"), &[host, ("authorization", sent)], expected);
        }
        check(&guard, ("GET", "/"), &[host], Err(Refusal::Token));
        let (right, wrong) =
            (("authorization", "Bearer 0123456789abcdef"), ("authorization", "Bearer x"));
        check(&guard, ("GET", "/"), &[host, right, wrong], Err(Refusal::Token));
    }

    #[test]
    fn a_token_is_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let check = |content: &str, mode: u32, expected: &str| {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let said = Token::read(&path).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
        };
        check("0123456789abcdef\n", 0o600, "");
        check("0123456789abcdef", 0o640, "");
        check("0123456789abcdef", 0o644, "chmod 600");
        check("0123456789abcde\n", 0o600, "/dev/urandom");
        check("0123456789abcdef\n0123456789abcdef\n", 0o600, "/dev/urandom");
        check("", 0o600, "/dev/urandom");
        check(&"x".repeat(5000), 0o600, "/dev/urandom");
        let absent = Token::read(&directory.path().join("absent")).err().unwrap().to_string();
        assert!(absent.contains("cannot read the token"), "{absent}");
    }
}
