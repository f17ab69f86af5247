//! A group whose log is open, and short words to append to it and to read it.

use std::sync::Arc;
use std::time::Duration;

use qunliu::model::client_id::ClientId;
use qunliu::model::epoch::Row;
use qunliu::model::event::{Content, Draft, Entry, Fixed};
use qunliu::model::id::{GroupId, MessageId, UserId};
use qunliu::model::message::{Body, Mentions};
use qunliu::model::position::{Epoch, Position, Seq};
use qunliu::model::role::Role;
use qunliu::model::time::Time;
use qunliu::store::log::{
    Append, Head, HistoryId, Log, OnMiss, Open, Opened, Outcome, Prepared, Receipt, Stored, Tail,
    Tailed,
};

/// Every wait of a test ends here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The moment at which all test events happen.
pub(crate) const AT: Time = Time::from_millis(1_764_000_000_000);

/// A group, its log and what an append must name.
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) id: GroupId,
    pub(crate) history: HistoryId,
    pub(crate) epoch: Epoch,
}

pub(crate) fn user() -> UserId {
    UserId::generate(AT)
}

/// A text message.
pub(crate) fn text(sender: UserId, text: &str) -> Fixed {
    let content = Content::Message {
        id: MessageId::generate(AT),
        body: Body::Text {
            text: text.to_owned(),
        },
        reply_to: None,
        mentions: Mentions::default(),
    };
    fixed(sender, content)
}

/// An event that changes rights and is not counted.
pub(crate) fn appointed(sender: UserId) -> Fixed {
    fixed(
        sender,
        Content::Role {
            user: sender,
            role: Role::Admin,
        },
    )
}

fn fixed(sender: UserId, content: Content) -> Fixed {
    Fixed {
        client_id: ClientId::random(),
        sender,
        at: AT,
        content,
    }
}

/// Somebody is a member now.
pub(crate) fn joined(user: UserId) -> Fixed {
    let role = Role::Member;
    fixed(user, Content::Joined { user, role })
}

/// Calls everything up to `pos` stored, under the number that was told last.
pub(crate) async fn set_stored(log: &dyn Log, group: GroupId, pos: Position) {
    let told = log.told(&[group.partition()]).await.unwrap()[0];
    let mark = Stored {
        group,
        pos,
        confirmed: told.unwrap_or_default().batch,
    };
    let refused = log.set_stored(&[mark]).await;
    assert_eq!(refused.unwrap(), []);
}

/// A new group, opened under epoch 1.
pub(crate) async fn new_group(log: &Arc<dyn Log>) -> Group {
    let id = GroupId::generate(AT);
    let history = log.history(id.partition()).await.unwrap();
    let group = Group {
        log: Arc::clone(log),
        id,
        history,
        epoch: 1,
    };
    assert_eq!(group.open(1, 0, Some(Vec::new())).await, Opened::Yes);
    group
}

impl Group {
    /// The append of `fixed` as a first attempt, to be changed by the test.
    pub(crate) fn request(&self, fixed: &Fixed) -> Append {
        Append {
            draft: Draft {
                group: self.id,
                fixed: fixed.clone(),
            },
            history: self.history.clone(),
            epoch: self.epoch,
            rights: None,
            on_miss: OnMiss::Append,
            replace: None,
            trace: None,
        }
    }

    /// Appends as a first attempt.
    pub(crate) async fn append(&self, fixed: &Fixed) -> Outcome {
        self.log.append(self.request(fixed)).await.unwrap()
    }

    /// Appends a new message of `sender`, which must succeed.
    pub(crate) async fn say(&self, sender: UserId, words: &str) -> Receipt {
        appended(self.append(&text(sender, words)).await)
    }

    pub(crate) async fn prepare(&self) -> Prepared {
        self.log
            .prepare(self.id, &self.history, self.epoch)
            .await
            .unwrap()
    }

    /// Prepares and opens at `start`.
    pub(crate) async fn open(
        &self,
        start: Seq,
        count: u64,
        own: Option<Vec<(UserId, u64)>>,
    ) -> Opened {
        let Prepared::Ready { top, .. } = self.prepare().await else {
            panic!("the log was not ready to be opened");
        };
        self.log
            .open(self.opening(start, count, own, top))
            .await
            .unwrap()
    }

    pub(crate) fn opening(
        &self,
        start: Seq,
        count: u64,
        own: Option<Vec<(UserId, u64)>>,
        expected_top: Option<Position>,
    ) -> Open {
        Open {
            group: self.id,
            history: self.history.clone(),
            epoch: self.epoch,
            start,
            count,
            at: AT,
            stored: Position::START,
            own,
            expected_top,
            table: [Row::from((self.epoch, start, count))]
                .into_iter()
                .collect(),
        }
    }

    pub(crate) fn pos(&self, seq: Seq) -> Position {
        Position::new(self.epoch, seq)
    }

    pub(crate) async fn head(&self) -> Head {
        self.head_of(None).await.0
    }

    pub(crate) async fn head_of(&self, member: Option<UserId>) -> (Head, Option<u64>) {
        let mut heads = self.log.heads(&[self.id], member).await.unwrap();
        heads.pop().unwrap().unwrap()
    }

    pub(crate) async fn entries(&self) -> Vec<Entry> {
        self.log
            .range(self.id, Position::START, None, 1000)
            .await
            .unwrap()
    }
}

/// The receipt of an append that must have written something.
pub(crate) fn appended(outcome: Outcome) -> Receipt {
    match outcome {
        Outcome::Appended(receipt) => receipt,
        other => panic!("expected an append, got {other:?}"),
    }
}

/// The receipt of an append that must have been a repeat.
pub(crate) fn repeated(outcome: Outcome) -> Receipt {
    match outcome {
        Outcome::Repeated(receipt) => receipt,
        other => panic!("expected a repeat, got {other:?}"),
    }
}

pub(crate) fn seqs<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<Seq> {
    entries.into_iter().map(|entry| entry.pos.seq).collect()
}

/// The next answer of a tail that is not empty; errors of a broken connection are waited out.
pub(crate) async fn tailed(tail: &mut Box<dyn Tail>) -> Vec<Tailed> {
    let next = async {
        loop {
            match tail.next().await {
                Ok(some) if !some.is_empty() => return some,
                Ok(_) => {}
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        }
    };
    tokio::time::timeout(DEADLINE, next)
        .await
        .expect("the tail saw nothing")
}

/// Reads a tail until it returned `count` entries of `group`.
pub(crate) async fn tail_entries(
    tail: &mut Box<dyn Tail>,
    group: GroupId,
    count: usize,
) -> Vec<Entry> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let news = tailed(tail).await.into_iter();
        seen.extend(
            news.filter(|tailed| tailed.group == group)
                .flat_map(|tailed| tailed.entries),
        );
    }
    seen
}
