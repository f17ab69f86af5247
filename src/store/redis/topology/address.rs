//! The address of a Redis as it is configured:
//!
//! - `redis://[[user]:password@]host[:port][/db]`: one server
//! - `redis+sentinel://[[user]:password@]host[:port],…/name[/db][?sentinel_user=…&sentinel_password=…]`:
//!   the master that sentinels know by that name
//! - `redis+cluster://[[user]:password@]host[:port],…`: a cluster, of which these are some servers
//!
//! `rediss` instead of `redis` is TLS. Users and passwords are percent-encoded.

use redis::{ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult};

/// Where servers listen unless the address says otherwise.
const PORT: u16 = 6_379;
/// Where sentinels listen unless the address says otherwise.
const SENTINEL_PORT: u16 = 26_379;

/// What an address names.
#[derive(Debug)]
pub(in super::super) enum Address {
    /// One server.
    Server(ConnectionInfo),
    /// Whichever server the sentinels call the master of this name.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        name: String,
        /// How to connect to the master, but for where it is.
        master: ConnectionInfo,
    },
    /// The cluster that these servers belong to.
    Cluster(Vec<ConnectionInfo>),
}

impl Address {
    /// Reads an address.
    pub(in super::super) fn parse(text: &str) -> RedisResult<Self> {
        if let Some((scheme, rest)) = text.split_once("+sentinel://") {
            sentinel(scheme, rest)
        } else if let Some((scheme, rest)) = text.split_once("+cluster://") {
            cluster(scheme, rest)
        } else {
            text.into_connection_info().map(Self::Server)
        }
    }
}

fn sentinel(scheme: &str, rest: &str) -> RedisResult<Address> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, database) = path.split_once('/').unwrap_or((path, ""));
    if name.is_empty() {
        return Err(invalid("no name of a master follows the sentinels"));
    }
    let (user, hosts) = user_and_hosts(authority);
    Ok(Address::Sentinel {
        sentinels: servers(scheme, &sentinel_user(query)?, hosts, SENTINEL_PORT)?,
        name: name.to_owned(),
        master: format!("{scheme}://{user}localhost/{database}").into_connection_info()?,
    })
}

fn cluster(scheme: &str, rest: &str) -> RedisResult<Address> {
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?']) {
        return Err(invalid(
            "a cluster has no numbered databases and no options",
        ));
    }
    let (user, hosts) = user_and_hosts(authority);
    servers(scheme, user, hosts, PORT).map(Address::Cluster)
}

/// What is before the hosts, its `@` included, and the hosts.
fn user_and_hosts(authority: &str) -> (&str, &str) {
    authority.split_at(authority.rfind('@').map_or(0, |at| at + 1))
}

fn servers(scheme: &str, user: &str, hosts: &str, port: u16) -> RedisResult<Vec<ConnectionInfo>> {
    let server = |host| format!("{scheme}://{user}{}", with_port(host, port));
    let servers = hosts.split(',').map(server);
    servers
        .map(IntoConnectionInfo::into_connection_info)
        .collect()
}

/// Who asks the sentinels, as a part of their addresses.
fn sentinel_user(query: &str) -> RedisResult<String> {
    let (mut user, mut password) = ("", None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sentinel_user", value)) => user = value,
            Some(("sentinel_password", value)) => password = Some(value),
            _ => {
                return Err(invalid(
                    "only sentinel_user and sentinel_password follow a `?`",
                ));
            }
        }
    }
    match password {
        Some(password) => Ok(format!("{user}:{password}@")),
        None if user.is_empty() => Ok(String::new()),
        None => Err(invalid("sentinel_user has no sentinel_password")),
    }
}

fn with_port(host: &str, port: u16) -> String {
    let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    match after_address.contains(':') {
        true => host.to_owned(),
        false => format!("{host}:{port}"),
    }
}

/// An address that cannot be used. It is not repeated: it may hold a password.
fn invalid(why: &'static str) -> RedisError {
    (ErrorKind::InvalidClientConfig, why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, String, ConnectionInfo) {
        match Address::parse(text).unwrap() {
            Address::Sentinel {
                sentinels,
                name,
                master,
            } => {
                let sentinels = sentinels.iter().map(|info| info.addr().to_string());
                (sentinels.collect(), name, master)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sentinels_have_ports_and_the_master_has_the_user() {
        let (sentinels, name, master) =
            parsed("redis+sentinel://u:p%40ss@a,b:26380,[::1],[::1]:7/chat/3");
        assert_eq!(sentinels, ["a:26379", "b:26380", "::1:26379", "::1:7"]);
        assert_eq!(name, "chat");
        assert_eq!(master.redis_settings().username(), Some("u"));
        assert_eq!(master.redis_settings().password(), Some("p@ss"));
        assert_eq!(master.redis_settings().db(), 3);
    }

    #[test]
    fn sentinels_have_a_user_of_their_own() {
        let address = "redis+sentinel://a/chat?sentinel_user=s&sentinel_password=t";
        let Address::Sentinel {
            sentinels, master, ..
        } = Address::parse(address).unwrap()
        else {
            panic!("not sentinels");
        };
        let settings = sentinels[0].redis_settings();
        assert_eq!(settings.username(), Some("s"));
        assert_eq!(settings.password(), Some("t"));
        assert_eq!(master.redis_settings().password(), None);
    }

    #[test]
    fn servers_of_a_cluster_have_one_user() {
        let address = Address::parse("redis+cluster://u:p@a,b:7000,[::1]/").unwrap();
        let Address::Cluster(seeds) = address else {
            panic!("{address:?}");
        };
        let places: Vec<_> = seeds.iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(places, ["a:6379", "b:7000", "::1:6379"]);
        let users = seeds.iter().map(|info| info.redis_settings().username());
        assert!(users.eq([Some("u"); 3]));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "redis+sentinel://a",
            "redis+sentinel:///chat",
            "redis+sentinel://a,,b/chat",
            "redis+sentinel://a/chat?password=x",
            "redis+sentinel://a/chat?sentinel_user=x",
            "http+sentinel://a/chat",
            "redis+cluster://",
            "redis+cluster://a/1",
            "redis+cluster://a?sentinel_user=x",
            "localhost:6379",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
