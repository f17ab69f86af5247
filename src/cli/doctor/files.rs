//! The files that a server's trust rests on: its secret, and its certificate for clients.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::ingress::auth::secret::Secrets;
use crate::ingress::tls::Certificate;
use crate::model::time::Time;
use crate::server;
use crate::store::finding::Finding;

/// A certificate that ends so soon should have been renewed.
const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// The mode and the length of the secret file, by the rules of a start.
pub(super) fn secret(config: &Config) -> Finding {
    let (what, path) = ("secret file", server::secret_path(config));
    if !path.exists() {
        let found = format!("{} is not there yet", path.display());
        return Finding::warn(what, found, "nothing: the first start makes it");
    }
    match Secrets::load(&path) {
        Ok(secrets) => {
            let count = secrets.all().count();
            Finding::ok(what, format!("{count} of 256 bits or more, mode 0600"))
        }
        Err(error) => {
            let mend = "as it says, or name another file in auth.secret_file";
            Finding::fail(what, error.to_string(), mend)
        }
    }
}

/// Whether clients are served over TLS, and until when the certificate is good.
pub(super) async fn certificate(config: &Config, clock: &dyn Clock) -> Finding {
    let what = "certificate";
    let http = &config.http;
    if http.tls_cert.is_empty() {
        return without(config);
    }
    let opened = Certificate::open(Path::new(&http.tls_cert), Path::new(&http.tls_key)).await;
    match opened.map(|certificate| certificate.good_until()) {
        Ok(Some(until)) => expiry(until, clock.now()),
        Ok(None) => Finding::unseen(what, "it does not say until when it is good"),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let found = format!("{error} {}", cause.unwrap_or_default());
            let mend = "put a chain and its key in PEM there";
            Finding::fail(what, found.trim_end(), mend)
        }
    }
}

fn without(config: &Config) -> Finding {
    let what = "certificate";
    if config.is_exposed() {
        let mend = "set http.tls_cert and http.tls_key: passwords cross the network in plain text";
        return Finding::warn(what, "none, by http.insecure", mend);
    }
    match config.http.proxies.is_empty() {
        true => Finding::ok(what, "none, on loopback"),
        false => Finding::ok(what, "none, behind proxies"),
    }
}

fn expiry(until: Time, now: Time) -> Finding {
    let what = "certificate";
    let left = until.since(now);
    let found = format!("good until {until}");
    if left.is_zero() {
        Finding::fail(what, found, "renew it: clients refuse it")
    } else if left < RENEWED_BEFORE {
        Finding::warn(what, found, "renew it; why was it not renewed by itself?")
    } else {
        Finding::ok(what, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::finding::Verdict;

    #[test]
    fn a_certificate_is_told_of_two_weeks_before_its_end() {
        const DAY: i64 = 86_400_000;
        let now = Time::from_millis(1_764_000_000_000);
        for (days, verdict) in [
            (30, Verdict::Ok),
            (13, Verdict::Warn),
            (0, Verdict::Fail),
            (-1, Verdict::Fail),
        ] {
            let until = Time::from_millis(now.as_millis() + days * DAY);
            assert_eq!(expiry(until, now).verdict, verdict, "{days} days");
        }
    }
}
