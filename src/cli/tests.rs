//! How the command line is parsed.

use super::*;

#[test]
fn the_arguments_fit_together() {
    command().debug_assert();
}

fn refused(arguments: &[&str]) -> String {
    let arguments: Vec<OsString> = arguments.iter().map(Into::into).collect();
    parse(&arguments).unwrap_err().to_string()
}

#[test]
fn words_of_other_programs_come_with_a_tip() {
    for (arguments, tip) in [
        (&["grantd", "role", "create", "reader"][..], "use 'set'"),
        (&["grantd", "--json", "scope", "add", "items:read"], "use 'set'"),
        (&["grantd", "user", "add", "maria"], "use 'create'"),
        (&["grantd", "start"], "use 'grantd serve'"),
        (&["grantd", "login"], "use 'grantd token get'"),
        (&["grantd", "version"], "use 'grantd --version'"),
        (&["grantd", "serve", ":8099"], "use --listen :8099"),
        (&["grantd", ":8099"], "use --listen :8099"),
        (&["grantd", "token", "get", "admin"], "use --username admin"),
        (&["grantd", "token", "get", "--password", "x"], "use --password-stdin"),
        (&["grantd", "token", "explain", "abc"], "the token is read from standard input"),
    ] {
        let said = refused(arguments);
        assert!(said.contains(&format!("tip: {tip}")), "{said}");
        assert!(said.matches("tip:").count() == 1 && said.contains("Usage: grantd"), "{said}");
    }
    // The argument is named once.
    let said = refused(&["grantd", "user", "create", "no name"]);
    assert!(said.contains("for '<USERNAME>': must consist of"), "{said}");
}

#[test]
fn settings_are_taken_before_and_after_a_command_and_listed_apart() {
    for arguments in [["grantd", "--hash-queue", "7", "user", "list"], ["grantd", "user", "list", "--hash-queue", "7"]]
    {
        let matches = command().try_get_matches_from(arguments).unwrap();
        assert_eq!(matches.get_one::<String>("hash_queue").map(String::as_str), Some("7"));
    }
    assert!(refused(&["grantd", "help", "settings"]).contains("GRANTD_HASH_QUEUE"));
    for of in ["serve", "migrate", "user"] {
        let help = refused(&["grantd", of, "--help"]);
        assert!(!help.contains("hash-queue"), "{help}");
        assert_eq!(help.contains("--listen"), of == "serve", "{help}");
    }
}

#[test]
fn help_fits_two_screens() {
    for flag in ["-h", "--help"] {
        let help = refused(&["grantd", flag]);
        assert!(help.lines().count() <= 50, "{help}");
        assert!(help.contains("grantd help settings"), "{help}");
    }
}

#[test]
fn flags_of_other_servers_and_near_misses_come_with_a_suggestion() {
    for flag in ["--port=9000", "--port", "--host=x", "--host", "--bind=:9000", "--bind", "--listn"] {
        for arguments in [&["grantd", flag][..], &["grantd", "serve", flag]] {
            let said = refused(arguments);
            assert!(said.contains("unexpected argument") && said.contains("'--listen'"), "{said}");
        }
    }
    for port in [&["grantd", "--port", "9000"][..], &["grantd", "--port"], &["grantd", "serve", "--port", "9000"]] {
        assert!(refused(port).contains("use --listen :PORT"));
    }
    let said = refused(&["grantd", "--demo"]);
    assert!(said.contains("unexpected argument '--demo'") && said.contains("use grantd serve --demo"), "{said}");
    assert!(command().try_get_matches_from(["grantd", "serve", "--demo"]).is_ok());
    assert!(refused(&["grantd", "user", "creat", "maria"]).contains("'create'"));
}

#[test]
fn wrong_arguments_show_the_usage_of_their_command() {
    let matches = command().try_get_matches_from(["grantd", "user", "create", "maria"]).unwrap();
    let said = with_usage(wrong_usage("no password").into(), &matches).to_string();
    assert!(said.starts_with("error: no password"), "{said}");
    assert!(said.contains("Usage: grantd user create [OPTIONS] <USERNAME>"), "{said}");
    let said = refused(&["grantd", "user", "create"]);
    assert!(said.contains("Usage: grantd user create"), "{said}");
}

#[test]
fn a_setting_is_not_taken_for_what_is_said_of_a_client() {
    let create = ["grantd", "client", "create", "shop", "--type", "public", "--grant", "password"];
    let check = |flags: &[&'static str]| {
        let matches = command().try_get_matches_from([&create, flags].concat()).unwrap();
        let Some(Command::Client(command)) = Cli::from_arg_matches(&matches).unwrap().command else { panic!() };
        check_flags_of_client(&command, &matches)
    };
    assert!(check(&["--token-audience", "a", "--token-ttl", "5m"]).is_ok());
    assert_eq!(check(&["--audience", "a"]).unwrap_err().exit_code(), 2);
    assert_eq!(check(&["--access-token-ttl", "5m"]).unwrap_err().exit_code(), 2);
}
