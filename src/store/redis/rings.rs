//! The ear of a doorbell connection: which streams changed since one last looked.
//!
//! Rings coalesce in a set, so they are bounded by the number of groups and a slow reader loses
//! none.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::Notify;

use super::dial::Dial;
use super::keys;
use crate::model::id::GroupId;

/// What rang since the last look.
#[derive(Debug, Default)]
pub(super) struct Rung {
    /// Streams that changed.
    pub(super) groups: HashSet<GroupId>,
    /// Every stream may have changed (FLUSHALL).
    pub(super) everything: bool,
    /// The connection ended: nothing rings any more.
    pub(super) is_over: bool,
}

/// A connection and what it hears.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) connection: MultiplexedConnection,
    rings: Arc<Rings>,
}

#[derive(Debug, Default)]
struct Rings {
    rung: Mutex<Rung>,
    notify: Notify,
}

impl Bell {
    /// Connects. Nothing rings until tracking is switched on over the connection.
    pub(super) async fn connect(dial: &Dial) -> RedisResult<Self> {
        let rings = Arc::new(Rings::default());
        let connection = dial.connect_with(Ear(Arc::clone(&rings))).await?;
        Ok(Self { connection, rings })
    }

    /// What rang since the last call.
    pub(super) fn rung(&self) -> Rung {
        std::mem::take(
            &mut *self
                .rings
                .rung
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits until something rings. Cancel safe; for one waiter.
    pub(super) async fn ring(&self) {
        self.rings.notify.notified().await;
    }
}

struct Ear(Arc<Rings>);

impl AsyncPushSender for Ear {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        let mut rung = self.0.rung.lock().unwrap_or_else(PoisonError::into_inner);
        match push.kind {
            PushKind::Invalidate => hear(&mut rung, push.data.first()),
            PushKind::Disconnection => rung.is_over = true,
            _ => {}
        }
        drop(rung);
        self.0.notify.notify_one();
        Ok(())
    }
}

fn hear(rung: &mut Rung, keys: Option<&Value>) {
    let Some(Value::Array(keys)) = keys else {
        rung.everything = true;
        return;
    };
    for key in keys {
        if let Value::BulkString(key) = key {
            rung.groups.extend(keys::group_of_stream(key));
        }
    }
}
