//! Origins: from which sites browsers may open a socket.

use warp::http::HeaderMap;
use warp::http::header::{HOST, ORIGIN};
use warp::http::uri::{Authority, Scheme};

/// A browser names its origin, and it must be an allowed one; without a list the page must come
/// from the host that it connects to. Whoever names none is no browser.
pub fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let (Ok(origin), None) = (origin.to_str(), origins.next()) else {
        return false;
    };
    if !allowed.is_empty() {
        return allowed
            .iter()
            .any(|known| known.eq_ignore_ascii_case(origin));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let site = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    host.is_some() && site.map(str::to_ascii_lowercase) == host.map(str::to_ascii_lowercase)
}

/// Whether a browser could name this as its origin: a scheme, a host and perhaps a port.
pub fn is_origin(text: &str) -> bool {
    let Some((scheme, site)) = text.split_once("://") else {
        return false;
    };
    let is_authority = site.parse::<Authority>().is_ok() && !site.contains('@');
    !scheme.is_empty() && scheme.parse::<Scheme>().is_ok() && is_authority
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(origin: &str, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "chat.example:8443".parse().unwrap());
        headers.insert(ORIGIN, origin.parse().unwrap());
        let allowed: Vec<String> = allowed.iter().map(|&text| text.to_owned()).collect();
        super::is_allowed(&headers, &allowed)
    }

    #[test]
    fn without_a_list_only_the_same_origin_is_allowed() {
        assert!(is_allowed("https://chat.example:8443", &[]));
        for origin in [
            "https://chat.example",
            "https://chat.example:8443.evil.example",
            "https://evil.example",
            "null",
            "",
        ] {
            assert!(!is_allowed(origin, &[]), "{origin}");
        }
    }

    #[test]
    fn a_list_is_exact() {
        let list = ["https://shop.example"];
        assert!(is_allowed("https://shop.example", &list));
        for origin in [
            "https://shop.example.evil",
            "http://shop.example",
            "https://chat.example:8443",
        ] {
            assert!(!is_allowed(origin, &list), "{origin}");
        }
    }

    #[test]
    fn no_origin_is_no_browser() {
        assert!(super::is_allowed(&HeaderMap::new(), &[]));
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for good in [
            "https://shop.example",
            "http://[::1]:8080",
            "app://localhost",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "shop.example",
            "https://",
            "https://a/",
            "https://u@a",
            "*",
            "null",
            "://a",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
