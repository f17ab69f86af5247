//! Sessions: begun, renewed by compare-and-set, ended.

use futures::future::join_all;
use qunliu::model::id::{SessionId, UserId};
use qunliu::store::directory::Session;

use super::{at, founder};
use crate::support::tables::Fresh;

fn new_session(user: UserId, expires: i64) -> Session {
    Session {
        id: SessionId::generate(at(0)),
        user,
        device: "web-7f3a".to_owned(),
        generation: 0,
        refreshed_at: at(0),
        expires_at: at(expires),
    }
}

async fn a_session_lasts_until_it_is_ended(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let (one, two) = (new_session(user, 60), new_session(user, 60));
    directory.begin_session(&one).await.unwrap();
    directory.begin_session(&two).await.unwrap();
    let other = directory.other();
    assert_eq!(other.session(one.id).await.unwrap(), Some(one.clone()));
    directory.end_session(one.id).await.unwrap();
    directory.end_session(one.id).await.unwrap();
    assert_eq!(other.session(one.id).await.unwrap(), None);
    assert_eq!(other.session(two.id).await.unwrap(), Some(two));
}

async fn beginning_again_changes_nothing(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    directory.begin_session(&session).await.unwrap();
    directory
        .renew_session(session.id, 0, at(1), at(61))
        .await
        .unwrap();
    directory.begin_session(&session).await.unwrap();
    let found = directory.session(session.id).await.unwrap().unwrap();
    assert_eq!(found.generation, 1);
}

async fn a_renewal_counts_from_exactly_one_generation(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    directory.begin_session(&session).await.unwrap();
    assert!(
        directory
            .renew_session(session.id, 0, at(10), at(70))
            .await
            .unwrap()
    );
    assert!(
        !directory
            .renew_session(session.id, 0, at(11), at(71))
            .await
            .unwrap()
    );
    assert!(
        !directory
            .renew_session(session.id, 2, at(11), at(71))
            .await
            .unwrap()
    );
    let renewed = Session {
        generation: 1,
        refreshed_at: at(10),
        expires_at: at(70),
        ..session.clone()
    };
    assert_eq!(directory.session(session.id).await.unwrap(), Some(renewed));
    directory.end_session(session.id).await.unwrap();
    assert!(
        !directory
            .renew_session(session.id, 1, at(12), at(72))
            .await
            .unwrap()
    );
}

async fn one_of_many_racing_renewals_counts(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    directory.begin_session(&session).await.unwrap();
    let renewals = (0..8).map(|_| directory.renew_session(session.id, 0, at(1), at(61)));
    let outcomes = join_all(renewals).await;
    let won = outcomes
        .into_iter()
        .filter(|outcome| *outcome.as_ref().unwrap());
    assert_eq!(won.count(), 1);
}

async fn a_session_that_ran_out_goes_when_its_user_begins_another(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let (old, open) = (new_session(user, 10), new_session(user, 60));
    directory.begin_session(&old).await.unwrap();
    directory.begin_session(&open).await.unwrap();
    let new = Session {
        refreshed_at: at(11),
        ..new_session(user, 71)
    };
    directory.begin_session(&new).await.unwrap();
    assert_eq!(directory.session(old.id).await.unwrap(), None);
    assert_eq!(directory.session(open.id).await.unwrap(), Some(open));
}

contract!(
    {
        embedded: crate::support::sqlite::open_directory,
        postgres: crate::support::postgres::open_directory,
    },
    [
        a_session_lasts_until_it_is_ended,
        beginning_again_changes_nothing,
        a_renewal_counts_from_exactly_one_generation,
        one_of_many_racing_renewals_counts,
        a_session_that_ran_out_goes_when_its_user_begins_another,
    ]
);
