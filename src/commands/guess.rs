//! Guesses the port of an app that has not run here before, so that there is an address at once. The app's own choice, once it is
//! known, wins.

use devhost_build::App;
use devhost_model::{ReadyWhen, SideProcess};

/// The variable by which many apps are told their port.
const VARIABLE: &str = "PORT";

/// Ports that frameworks take if nobody says otherwise.
const OF_FRAMEWORKS: [(&str, u16); 2] = [("rocket", 8000), ("loco-rs", 5150)];

/// How apps write the addresses that servers listen on. Brackets and blanks are left out before they are looked for.
const HOSTS: [&str; 8] =
    ["127.0.0.1", "0.0.0.0", "localhost", "::1", "127,0,0,1", "0,0,0,0", "LOCALHOST", "UNSPECIFIED"];

/// Words on a line that says where a server listens, and not where another one is.
const WORDS: [&str; 4] = ["bind", "listen", "serve", "addr"];

/// How much of the source is looked at, in bytes.
const SOURCE_SIZE_MAX: usize = 256 * 1024;

/// Returns the port that the app is likely to ask for: the environment's, the one in its main file, that of its framework, or
/// `default`. Not one that a process beside it has.
pub(super) fn port(
    app: &App,
    variables: &[(String, String)],
    beside: &[SideProcess],
    default: u16,
) -> Option<u16> {
    let is_taken = |port: u16| beside.iter().any(|side| side.ready_when == Some(ReadyWhen::Port(port)));
    let named = std::env::var(VARIABLE)
        .ok()
        .or_else(|| variables.iter().find(|(name, _)| name == VARIABLE).map(|(_, value)| value.clone()));
    let source = || {
        let source = std::fs::read(&app.source).ok()?;
        in_source(&String::from_utf8_lossy(&source[..source.len().min(SOURCE_SIZE_MAX)]))
    };
    let usual = OF_FRAMEWORKS.into_iter().find(|(name, _)| app.depends_on(name)).map(|(_, port)| port);
    named
        .and_then(|port| port.trim().parse().ok())
        .or_else(source)
        .or(usual)
        .or(Some(default))
        .filter(|port| *port != 0 && !is_taken(*port))
}

/// Returns the first port beside a local host, first on lines that tell of listening.
fn in_source(source: &str) -> Option<u16> {
    let lines = || source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let telling = |line: &&str| {
        let line = line.to_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    };
    lines().filter(telling).find_map(in_line).or_else(|| lines().find_map(in_line))
}

fn in_line(line: &str) -> Option<u16> {
    let line: String = line.chars().filter(|c| !c.is_whitespace() && !"[]()\"".contains(*c)).collect();
    HOSTS.iter().find_map(|host| {
        line.match_indices(host).find_map(|(at, _)| {
            // The address of another server: `postgres://localhost:5432`, `user@localhost`.
            if line[..at].ends_with('/') || line[..at].ends_with('@') {
                return None;
            }
            let rest = &line[at + host.len()..];
            let rest = rest.strip_prefix(':').or_else(|| rest.strip_prefix(','))?;
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            rest[..digits].parse().ok().filter(|port| *port != 0)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_as_apps_write_it() {
        for line in [
            r#"let listener = TcpListener::bind("127.0.0.1:4000").await?;"#,
            r#"    .bind(("0.0.0.0", 4000))?"#,
            "let addr = SocketAddr::from(([127, 0, 0, 1], 4000));",
            "let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4000);",
            "warp::serve(routes).run(([0, 0, 0, 0], 4000)).await;",
            r#"Server::new(TcpListener::bind("[::1]:4000"))"#,
        ] {
            assert_eq!(in_source(line), Some(4000), "{line}");
        }
    }

    #[test]
    fn other_servers_and_comments_count_for_nothing() {
        for line in [
            r#"connect("postgres://localhost:5432/shop")"#,
            r#"connect("redis://user@localhost:6379")"#,
            r#"// bind("127.0.0.1:4000")"#,
            r#"bind("127.0.0.1:0")"#,
            r#"bind(format!("127.0.0.1:{port}"))"#,
            "let port = 4000;",
        ] {
            assert_eq!(in_source(line), None, "{line}");
        }
    }

    #[test]
    fn a_line_about_listening_comes_first() {
        let source = "let cache = \"localhost:6379\";\nTcpListener::bind(\"127.0.0.1:4000\")";
        assert_eq!(in_source(source), Some(4000));
        assert_eq!(in_source("const HERE: &str = \"localhost:6379\";"), Some(6379));
    }
}
