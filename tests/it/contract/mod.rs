//! Contract suites: what a trait of the store promises, as named cases that every backend runs.
//!
//! A suite is one file named after the trait's file. It ends with one list:
//!
//! ```text
//! contract!({ embedded: open_embedded, redis: open_redis }, [case_one, case_two]);
//! ```
//!
//! An `open_…` function answers the subject of a case, or `None` when its backend is not there;
//! it asks [`crate::support::service`], which fails instead when `REQUIRE_BACKENDS=1`.

macro_rules! contract {
    ({ $($backend:ident: $open:path),* $(,)? }, $cases:tt) => {
        $( contract!(@backend $backend, $open, $cases); )*
    };
    (@backend $backend:ident, $open:path, [$($case:ident),+ $(,)?]) => {
        mod $backend {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(subject) = $open().await {
                        super::$case(subject).await;
                    }
                }
            )+
        }
    };
}

pub(crate) mod cards;
pub(crate) mod consumers;
mod dead_letters;
mod epochs;
pub(crate) mod log;
mod messages;
pub(crate) mod presence;
pub(crate) mod signals;
mod unread;
mod directory;
