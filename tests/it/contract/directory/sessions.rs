//! Sessions: begun under a proven password, renewed by compare-and-set, ended with a row in the
//! revocation log; and tickets.

use futures::future::join_all;
use qunliu::model::id::{SessionId, UserId};
use qunliu::store::accounts::{Revocation, Session, Which};

use super::{at, founder};
use crate::support::tables::{Fresh, Kept};

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

/// The hash of [`founder`]'s password.
const HASH: &str = "$argon2id$founder";

async fn begin(directory: &Fresh, session: &Session) {
    assert!(directory.begin_session(session, HASH, HASH).await.unwrap());
}

async fn end(directory: &Fresh, session: &Session) -> u64 {
    let ended = directory.end_sessions(session.user, Which::One(session.id), at(1));
    ended.await.unwrap()
}

async fn a_session_lasts_until_it_is_ended(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let (one, two) = (new_session(user, 60), new_session(user, 60));
    begin(&directory, &one).await;
    begin(&directory, &two).await;
    let other = directory.other();
    assert_eq!(other.session(one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(end(&directory, &one).await, 1);
    assert_eq!(end(&directory, &one).await, 0);
    assert_eq!(other.session(one.id).await.unwrap(), None);
    assert_eq!(other.session(two.id).await.unwrap(), Some(two));
}

async fn beginning_again_changes_nothing(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    begin(&directory, &session).await;
    directory
        .renew_session(session.id, 0, at(1), at(61))
        .await
        .unwrap();
    begin(&directory, &session).await;
    let found = directory.session(session.id).await.unwrap().unwrap();
    assert_eq!(found.generation, 1);
}

async fn a_renewal_counts_from_exactly_one_generation(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    begin(&directory, &session).await;
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
    end(&directory, &session).await;
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
    begin(&directory, &session).await;
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
    begin(&directory, &old).await;
    begin(&directory, &open).await;
    let new = Session {
        refreshed_at: at(11),
        ..new_session(user, 71)
    };
    begin(&directory, &new).await;
    assert_eq!(directory.session(old.id).await.unwrap(), None);
    assert_eq!(directory.session(open.id).await.unwrap(), Some(open));
}

async fn a_session_begins_only_under_the_password_of_an_enabled_account(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let [one, two, three] = [0; 3].map(|_| new_session(user, 60));
    assert!(
        !directory
            .begin_session(&one, "another", "another")
            .await
            .unwrap()
    );
    directory.set_disabled(user, true, at(1)).await.unwrap();
    assert!(!directory.begin_session(&one, HASH, HASH).await.unwrap());
    let known = directory.credentials("founder").await.unwrap().unwrap();
    assert!(known.is_disabled);
    directory.set_disabled(user, false, at(2)).await.unwrap();
    begin(&directory, &one).await;
    let changed = directory.set_password(user, "new", Some(one.id), at(3));
    changed.await.unwrap();
    assert!(!directory.begin_session(&two, HASH, HASH).await.unwrap());
    assert!(directory.begin_session(&two, "new", "new").await.unwrap());
    assert_eq!(directory.session(three.id).await.unwrap(), None);
    assert_eq!(directory.sessions_of(user).await.unwrap().len(), 2);
}

async fn a_session_keeps_another_hash_of_its_password_and_ends_no_other(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let [one, two] = [0; 2].map(|_| new_session(user, 60));
    begin(&directory, &one).await;
    assert!(
        directory
            .begin_session(&two, HASH, "renewed")
            .await
            .unwrap()
    );
    let known = directory.other().credentials("founder").await.unwrap();
    assert_eq!(known.unwrap().password_hash, "renewed");
    let late = new_session(user, 60);
    assert!(!directory.begin_session(&late, HASH, "late").await.unwrap());
    assert!(
        directory
            .begin_session(&late, "renewed", "renewed")
            .await
            .unwrap()
    );
    assert_eq!(directory.sessions_of(user).await.unwrap().len(), 3);
    assert_eq!(directory.revocations(0).await.unwrap(), []);
}

async fn a_session_that_races_with_a_disabling_does_not_survive_it(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let sessions: Vec<_> = (0..8).map(|_| new_session(user, 60)).collect();
    let begun = sessions
        .iter()
        .map(|session| directory.begin_session(session, HASH, HASH));
    let disabled = directory.other().set_disabled(user, true, at(1));
    let (begun, disabled) = futures::join!(join_all(begun), disabled);
    disabled.unwrap();
    assert!(begun.iter().all(Result::is_ok));
    assert_eq!(directory.sessions_of(user).await.unwrap(), []);
}

/// The sessions of some rows, and that their numbers rise from above `after`.
fn sessions_of(rows: &[Revocation], after: u64) -> Vec<SessionId> {
    let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
    assert!(numbers.is_sorted() && numbers.first().is_none_or(|first| *first > after));
    let mut sessions: Vec<_> = rows.iter().map(|row| row.session).collect();
    sessions.sort_unstable();
    sessions
}

async fn every_end_is_in_the_revocation_log(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let mut open: Vec<_> = (0..6).map(|_| new_session(user, 60)).collect();
    open.sort_by_key(|session| session.id);
    for session in &open {
        begin(&directory, session).await;
    }
    assert_eq!(directory.revocations(0).await.unwrap(), []);
    let ids: Vec<_> = open.iter().map(|session| session.id).collect();
    end(&directory, &open[0]).await;
    let first = directory.other().revocations(0).await.unwrap();
    assert_eq!(sessions_of(&first, 0), ids[..1]);
    let upto = first[0].number;
    let others = Which::AllBut(ids[1]);
    assert_eq!(
        directory.end_sessions(user, others, at(1)).await.unwrap(),
        4
    );
    let second = directory.revocations(upto).await.unwrap();
    assert_eq!(sessions_of(&second, upto), ids[2..]);
    assert!(second.iter().all(|row| row.user == user));
    let upto = second[0].number;
    directory.set_disabled(user, true, at(2)).await.unwrap();
    let third = directory.revocations(upto).await.unwrap();
    assert_eq!(sessions_of(&third, upto), ids[1..2]);
}

async fn a_reader_of_the_log_misses_nothing_while_many_end(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let sessions: Vec<_> = (0..16).map(|_| new_session(user, 60)).collect();
    for session in &sessions {
        begin(&directory, session).await;
    }
    let ends = sessions.iter().zip(0..).map(|(session, number)| {
        let handle: &dyn Kept = if number % 2 == 0 {
            &*directory
        } else {
            directory.other()
        };
        handle.end_sessions(user, Which::One(session.id), at(1))
    });
    let ends = join_all(ends);
    let reading = async {
        let (mut upto, mut seen) = (0, Vec::new());
        while seen.len() < sessions.len() {
            let rows = directory.revocations(upto).await.unwrap();
            seen.extend(rows.iter().map(|row| row.session));
            upto = rows.last().map_or(upto, |row| row.number);
        }
        seen
    };
    let reading = tokio::time::timeout(std::time::Duration::from_secs(30), reading);
    let (ended, seen) = futures::join!(ends, reading);
    assert!(ended.into_iter().all(|ended| ended.unwrap() == 1));
    assert_eq!(seen.expect("every end is read").len(), sessions.len());
}

async fn rows_of_the_log_go_after_a_day(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let (one, two) = (new_session(user, 60), new_session(user, 60));
    begin(&directory, &one).await;
    begin(&directory, &two).await;
    end(&directory, &one).await;
    let later = directory.end_sessions(user, Which::All, at(2 + 24 * 60 * 60));
    assert_eq!(later.await.unwrap(), 1);
    let rows = directory.revocations(0).await.unwrap();
    assert_eq!(sessions_of(&rows, 1), [two.id]);
}

async fn nobody_ends_the_sessions_of_others(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    begin(&directory, &session).await;
    let stranger = UserId::generate(at(0));
    for which in [Which::One(session.id), Which::All] {
        assert_eq!(
            directory
                .end_sessions(stranger, which, at(1))
                .await
                .unwrap(),
            0
        );
    }
    assert_eq!(directory.revocations(0).await.unwrap(), []);
}

async fn a_ticket_is_taken_once_before_it_runs_out(directory: Fresh) {
    let (user, _) = founder(&*directory).await;
    let session = new_session(user, 60);
    let keep = async |number: u8| {
        let hash = [number; 32];
        let kept = directory.keep_ticket(&hash, session.id, at(0), at(30));
        kept.await.unwrap()
    };
    assert!(!keep(1).await, "there is no such session");
    begin(&directory, &session).await;
    for number in 1..=3 {
        assert!(keep(number).await);
    }
    let takes = (0..8).map(|_| directory.other().take_ticket(&[1; 32], at(29)));
    let taken = join_all(takes).await.into_iter().filter_map(Result::unwrap);
    assert_eq!(taken.collect::<Vec<_>>(), [(session.id, user)]);
    assert_eq!(directory.take_ticket(&[2; 32], at(30)).await.unwrap(), None);
    end(&directory, &session).await;
    assert_eq!(directory.take_ticket(&[3; 32], at(1)).await.unwrap(), None);
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
        a_session_begins_only_under_the_password_of_an_enabled_account,
        a_session_keeps_another_hash_of_its_password_and_ends_no_other,
        a_session_that_races_with_a_disabling_does_not_survive_it,
        every_end_is_in_the_revocation_log,
        a_reader_of_the_log_misses_nothing_while_many_end,
        rows_of_the_log_go_after_a_day,
        nobody_ends_the_sessions_of_others,
        a_ticket_is_taken_once_before_it_runs_out,
    ]
);
