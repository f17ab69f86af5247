//! A rule of the merchant refuses a message before it is appended.

use std::sync::Arc;

use qunliu::access::{Access, Caller, Options, Permit, Send};
use qunliu::clock::ManualClock;
use qunliu::model::client_id::ClientId;
use qunliu::model::id::SessionId;
use qunliu::model::message::{Body, Mentions};
use qunliu::pipeline::append::Attempt;
use qunliu::pipeline::commands::messages::{Messages, NewMessage};
use qunliu::pipeline::policy::{Policy, Rule};
use qunliu::protocol::code::ErrorCode;
use qunliu::store::counts::Counts;

use super::TRACE;
use super::pushing::Pushing;
use crate::support::logs::AT;

const OPTIONS: Options = Options {
    cache_entries_max: 10,
    cache_age_s_max: 3600,
};

/// Refuses one word.
struct Forbids(&'static str);

impl Rule for Forbids {
    fn refuses(&self, _permit: &Permit<Send>, message: &NewMessage) -> Option<String> {
        let Body::Text { text } = &message.body;
        text.contains(self.0)
            .then(|| format!("{} is not said here", self.0))
    }
}

fn message(number: u8, text: &str) -> NewMessage {
    NewMessage {
        client_id: ClientId::from_bytes([number; 16]),
        body: Body::Text {
            text: text.to_owned(),
        },
        reply_to: None,
        mentions: Mentions::default(),
    }
}

#[tokio::test]
async fn what_a_rule_refuses_is_not_appended() {
    let pushing = Pushing::new().await;
    let (node, group) = (&pushing.node, pushing.group);
    let stores = &node.stores;
    let counts = Counts::new(
        node.log.clone(),
        stores.messages.clone(),
        stores.unread.clone(),
        node.history.clone(),
    );
    let access = Access::new(pushing.directory.clone(), node.log.clone(), &OPTIONS);
    let messages = Messages::new(
        access.clone(),
        node.appender.clone(),
        node.history.clone(),
        counts,
        Policy::new(vec![Arc::new(Forbids("微信")), Arc::new(Forbids("QQ"))]),
        Arc::new(ManualClock::at(AT)),
    );
    let caller = Caller {
        user: pushing.member,
        session: SessionId::generate(AT),
    };
    let send = async |number: u8, text: &str| {
        let message = message(number, text);
        let permit = access.permit_send(caller, group).await.unwrap();
        messages
            .send(permit, &message, Attempt::Unknown, TRACE)
            .await
    };
    let refused = send(1, "加我微信").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Refused);
    assert_eq!(refused.detail, "微信 is not said here");
    assert_eq!(
        send(2, "加我QQ").await.unwrap_err().code,
        ErrorCode::Refused
    );
    let sent = send(3, "在吗").await.unwrap();
    assert_eq!(
        sent.receipt.pos.seq, 3,
        "nothing stands between the members and this"
    );
}
