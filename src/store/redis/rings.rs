//! The ear of a doorbell connection: which streams changed since one last looked.
//!
//! Rings coalesce in a set, so they are bounded by the number of groups and a slow reader loses
//! none.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, RedisResult, Value};
use tokio::sync::Notify;

use super::keys;
use super::topology::dial::Dial;
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
    rung: Arc<Mutex<Rung>>,
}

impl Bell {
    /// Connects. Nothing rings until tracking is switched on over the connection; then `rings`
    /// is notified.
    pub(super) async fn connect(dial: &Dial, rings: Arc<Notify>) -> RedisResult<Self> {
        let rung = Arc::new(Mutex::default());
        let ear = Ear {
            rung: Arc::clone(&rung),
            rings,
        };
        let connection = dial.connect_with(ear).await?;
        Ok(Self { connection, rung })
    }

    /// What rang since the last call.
    pub(super) fn rung(&self) -> Rung {
        std::mem::take(&mut *self.rung.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Ear {
    rung: Arc<Mutex<Rung>>,
    rings: Arc<Notify>,
}

impl AsyncPushSender for Ear {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        match push.kind {
            PushKind::Invalidate => hear(&mut rung, push.data.first()),
            PushKind::Disconnection => rung.is_over = true,
            _ => {}
        }
        drop(rung);
        self.rings.notify_one();
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
