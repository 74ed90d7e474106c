use super::super::access::Credential;
use super::{Layers, URL, flags};
use secrecy::ExposeSecret;

#[test]
fn beyond_loopback_auth_is_needed() {
    let error = flags(&[URL, ("host", "0.0.0.0")]).error();
    for says in ["--host is 0.0.0.0", "--auth-user", "--allow-anonymous", "(from flag --host)"] {
        assert!(error.contains(says), "{error}");
    }
    let open = flags(&[URL, ("host", "0.0.0.0"), ("allow-anonymous", "true")]).check().unwrap();
    assert!(open.callers.is_empty() && open.warnings.is_empty());
    let env = [("COMMENTD_AUTH_BEARER", "bot=t0ken")];
    let config = Layers { flags: &[URL, ("host", "::")], env: &env, ..Layers::default() }.check().unwrap();
    assert_eq!(config.listen.to_string(), "[::]:19080");
    assert!(config.warnings.is_empty());
}

#[test]
fn callers_have_names_of_their_own() {
    let env = [
        ("COMMENTD_AUTH_USER", "ann"),
        ("COMMENTD_AUTH_PASSWORD", " p:w "),
        ("COMMENTD_AUTH_BEARER", "bot=t=1, tool=t2"),
    ];
    let config = Layers { flags: &[URL], env: &env, ..Layers::default() }.check().unwrap();
    let names: Vec<&str> = config.callers.iter().map(|caller| caller.name.as_str()).collect();
    assert_eq!(names, ["ann", "bot", "tool"]);
    let shown: Vec<String> = config
        .callers
        .iter()
        .map(|caller| match &caller.credential {
            Credential::Basic { user, password } => format!("{user}/{}", password.expose_secret()),
            Credential::Bearer { token } => token.expose_secret().to_owned(),
        })
        .collect();
    assert_eq!(shown, ["ann/ p:w ", "t=1", "t2"]);
}

#[test]
fn half_an_auth_is_refused() {
    for (given, says) in [
        (("auth-user", "ann"), "--auth-password is missing: --auth-user \"ann\" needs a password"),
        (("auth-password", "p"), "--auth-user is missing"),
        (("auth-user", "a:b"), "--auth-password is missing"),
        (("auth-bearer", "token"), "NAME=TOKEN"),
        (("auth-bearer", "=token"), "must give a name"),
        (("auth-bearer", "a=1,b="), "(entry 2)"),
        (("auth-bearer", "a=x y"), "visible ASCII"),
        (("auth-bearer", "a=1,a=2"), "twice"),
        (("auth-bearer", "a=1,b=1"), "same token"),
        (("allowed-host", "h:80"), "without port, has \"h:80\""),
        (("host", "127.0.0.1:80"), "without port"),
    ] {
        let error = flags(&[URL, given]).error();
        assert!(error.contains(says), "{given:?}: {error}");
    }
    let error = flags(&[URL, ("auth-user", "a:b"), ("auth-password", "p")]).error();
    assert!(error.contains("no colon"), "{error}");
    let error = flags(&[URL, ("auth-user", "a"), ("auth-password", "p"), ("auth-bearer", "a=1")]).error();
    assert!(error.contains("twice"), "{error}");
}

#[test]
fn anonymous_where_it_changes_nothing_is_warned_of() {
    let warnings = flags(&[URL, ("allow-anonymous", "true")]).check().unwrap().warnings;
    assert!(warnings[0].contains("--allow-anonymous has no effect"), "{warnings:?}");
    let env = [("COMMENTD_AUTH_BEARER", "a=1")];
    let given = [URL, ("allow-anonymous", "true"), ("host", "0.0.0.0")];
    let warnings = Layers { flags: &given, env: &env, ..Layers::default() }.check().unwrap().warnings;
    assert!(warnings[0].contains("auth is configured"), "{warnings:?}");
}

#[test]
fn allowed_hosts_are_bare_and_lower_case() {
    let file = "allowed_host = [\"Example.ORG\", \"[::1]\"]";
    let config = Layers { flags: &[URL], file, ..Layers::default() }.check().unwrap();
    assert_eq!(config.allowed_hosts, ["example.org", "::1"]);
}
