//! A look at a Redis before it is trusted: each thing one small function over what two commands
//! answer. A user who may not read the settings is told so; that is no failure. Nothing is
//! loaded, leased or changed.

use redis::{Value, cmd};

use super::check::{check_append_only, check_policy, check_sync, check_version};
use super::fault::fault;
use super::info::{info_field, info_text};
use super::memory::sizes;
use super::options::Options;
use super::reply::{at, list, number, pairs, text};
use super::topology::Topology;
use super::topology::link::Link;
use crate::clock::Clock;
use crate::model::time::Time;
use crate::store::Result;
use crate::store::finding::{Asked, Finding, Verdict};

/// More broadcast prefixes than the sixteen of our own make every append dear.
const PREFIXES_MAX: u64 = 16;

/// What was read.
struct Facts {
    /// All of `INFO`.
    info: String,
    /// The answer to CONFIG GET, or why there is none.
    settings: std::result::Result<Value, String>,
    time: Time,
    asked: Asked,
}

/// Looks at each server that takes writes of what `address` names.
pub async fn examine(address: &str, options: &Options, clock: &dyn Clock) -> Vec<Finding> {
    let unusable = |error| vec![Finding::unusable("redis", &error)];
    let topology = match Topology::connect(address, options).await {
        Ok(topology) => topology,
        Err(error) => return unusable(fault(error)),
    };
    let mut findings = Vec::new();
    for shard in topology.map().shards() {
        let facts = read(&shard.reads, clock).await;
        findings.extend(facts.map_or_else(unusable, |facts| facts.judge(options)));
    }
    findings
}

async fn read(link: &Link, clock: &dyn Clock) -> Result<Facts> {
    let info = link.command(&cmd("INFO")).await.map_err(fault)?;
    let mut config = cmd("CONFIG");
    config
        .arg("GET")
        .arg(&["appendfsync", "tracking-table-max-keys"]);
    let settings = link.command(&config).await;
    let time = cmd("TIME");
    let (answer, asked) = Asked::around(clock, link.command(&time)).await;
    Ok(Facts {
        info: info_text(&info)?,
        settings: settings.map_err(|error| error.to_string()),
        time: moment(&answer.map_err(fault)?)?,
        asked,
    })
}

/// Seconds and microseconds, as TIME answers them.
fn moment(answer: &Value) -> Result<Time> {
    let parts = list(answer)?;
    let (seconds, micros) = (number(at(parts, 0)?)?, number(at(parts, 1)?)?);
    let millis = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    Ok(Time::from_millis(i64::try_from(millis).unwrap_or(i64::MAX)))
}

impl Facts {
    fn judge(&self, options: &Options) -> Vec<Finding> {
        vec![
            self.version(),
            self.role(),
            self.policy(),
            allowed(self.append_only(), options),
            allowed(self.sync(options), options),
            self.last_write(),
            self.memory(options),
            self.tracked_keys(),
            self.prefixes(),
            Finding::clock("redis clock", self.time, self.asked),
        ]
    }

    fn field(&self, name: &str) -> &str {
        info_field(&self.info, name).unwrap_or_default()
    }

    fn count(&self, name: &str) -> u64 {
        self.field(name).parse().unwrap_or_default()
    }

    fn setting(&self, name: &str) -> std::result::Result<String, String> {
        let answer = self.settings.as_ref().map_err(Clone::clone)?;
        let mut pairs = pairs(answer).unwrap_or_default().iter();
        let found = pairs.find(|(key, _)| text(key).is_ok_and(|key| key == name));
        let value = found.and_then(|(_, value)| text(value).ok());
        let value = value.ok_or_else(|| "this server has no such setting".to_owned());
        value.map(str::to_owned)
    }

    fn version(&self) -> Finding {
        let version = self.field("redis_version");
        Finding::of("redis version", version, check_version(version))
    }

    fn role(&self) -> Finding {
        match self.field("role") {
            "master" => Finding::ok("redis role", "master"),
            other => {
                let mend = "name the master in stores.redis: a replica takes no appends";
                Finding::fail("redis role", other, mend)
            }
        }
    }

    fn policy(&self) -> Finding {
        let policy = self.field("maxmemory_policy");
        Finding::of("redis maxmemory-policy", policy, check_policy(policy))
    }

    fn append_only(&self) -> Finding {
        let enabled = self.field("aof_enabled");
        let found = if enabled == "1" { "yes" } else { "no" };
        Finding::of("redis appendonly", found, check_append_only(enabled))
    }

    fn sync(&self, options: &Options) -> Finding {
        let sync = self.setting("appendfsync");
        let found = match (&sync, options.appendfsync_assured) {
            (Ok(value), _) => value,
            (Err(_), true) => "assured by redis.appendfsync_assured",
            (Err(_), false) => "could not check",
        };
        Finding::of("redis appendfsync", found, check_sync(&sync, options))
    }

    fn last_write(&self) -> Finding {
        match self.field("aof_last_write_status") {
            "ok" | "" => Finding::ok("redis last write", "ok"),
            other => {
                let mend = "has its disk room, and does it work?";
                Finding::fail("redis last write", other, mend)
            }
        }
    }

    fn memory(&self, options: &Options) -> Finding {
        let what = "redis memory";
        let Some(sizes) = sizes(&self.info) else {
            return Finding::unseen(what, "INFO tells no sizes");
        };
        let percent = sizes.percent();
        let found = format!("{percent} % of {} MiB", sizes.limit >> 20);
        let full = i128::from(options.full_percent);
        if percent >= full {
            Finding::fail(what, found, "sends are refused: raise maxmemory")
        } else if self.count("maxmemory") == 0 {
            let mend = "set maxmemory below what the machine has, or the kernel may end Redis";
            Finding::warn(what, format!("{found}, without maxmemory"), mend)
        } else if percent * 4 >= full * 3 {
            Finding::warn(what, found, "raise maxmemory before sends are refused")
        } else {
            Finding::ok(what, found)
        }
    }

    /// A table that is full forgets keys, and rings for each that it forgets.
    fn tracked_keys(&self) -> Finding {
        let what = "redis tracking-table-max-keys";
        let tracked = self.count("tracking_total_keys");
        let limit: u64 = match self.setting("tracking-table-max-keys") {
            Ok(limit) => limit.parse().unwrap_or_default(),
            Err(why) => return Finding::unseen(what, why),
        };
        let found = format!("{tracked} of {limit}");
        if limit == 0 || tracked.saturating_mul(10) < limit.saturating_mul(9) {
            return Finding::ok(what, found);
        }
        let mend = "set it to twice the number of groups, or to 0 for no limit";
        Finding::warn(what, found, mend)
    }

    fn prefixes(&self) -> Finding {
        let what = "redis tracked prefixes";
        let prefixes = self.count("tracking_total_prefixes");
        if prefixes <= PREFIXES_MAX {
            return Finding::ok(what, prefixes.to_string());
        }
        let mend = "another program tracks prefixes here, which slows every append: \
                    give Qunliu a Redis of its own";
        Finding::warn(what, prefixes.to_string(), mend)
    }
}

/// What the operator has allowed is no failure.
fn allowed(mut finding: Finding, options: &Options) -> Finding {
    if options.allow_data_loss && finding.verdict == Verdict::Fail {
        finding.verdict = Verdict::Warn;
        finding.mend.push_str(" (allowed by redis.allow_data_loss)");
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(info: &str) -> Facts {
        Facts {
            info: info.to_owned(),
            settings: Err("NOPERM".to_owned()),
            time: Time::default(),
            asked: Asked::default(),
        }
    }

    #[test]
    fn memory_is_judged_by_its_head_room() {
        let options = Options::default();
        for (used, limit, verdict) in [
            (10, 100, Verdict::Ok),
            (70, 100, Verdict::Warn),
            (85, 100, Verdict::Fail),
            (10, 0, Verdict::Warn),
        ] {
            let info =
                format!("used_memory:{used}\r\nmaxmemory:{limit}\r\ntotal_system_memory:999");
            assert_eq!(facts(&info).memory(&options).verdict, verdict, "{info}");
        }
    }

    #[test]
    fn a_replica_a_broken_disk_and_many_prefixes_are_told() {
        assert_eq!(facts("role:slave").role().verdict, Verdict::Fail);
        let broken = facts("aof_last_write_status:err").last_write();
        assert_eq!(broken.verdict, Verdict::Fail);
        let many = facts("tracking_total_prefixes:17").prefixes();
        assert_eq!(many.verdict, Verdict::Warn);
    }

    #[test]
    fn of_settings_that_may_not_be_read_only_an_assured_one_is_well() {
        let mut options = Options::default();
        let sync = |options: &Options| facts("").sync(options);
        assert_eq!(sync(&options).verdict, Verdict::Fail);
        assert!(sync(&options).mend.contains("redis.appendfsync_assured"));
        options.appendfsync_assured = true;
        assert_eq!(sync(&options).verdict, Verdict::Ok);
        let keys = facts("").tracked_keys();
        assert_eq!(keys.verdict, Verdict::Warn);
        assert!(keys.found.contains("could not check"), "{keys:?}");
    }
}
