//! The groups of a user who is here: they are listened to, and it is known what the user is and
//! where the user stands in each. By the card and the live logs alone, if these say all; else by the
//! directory and the message store, and then the card is filled for the next time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::admission::{Admission, Admitted};
use super::group::LocalUser;
use super::hub::Hub;
use crate::error::{Error, Result};
use crate::model::epoch::EpochTable;
use crate::model::group::Membership;
use crate::model::id::{GroupId, UserId};
use crate::model::position::Position;
use crate::model::user::User;
use crate::store::cards::{Card, CardGroup, Cards};
use crate::store::counts::{Count, Counts, Standing};
use crate::store::directory::Directory;
use crate::telemetry::show_zero;

/// Mentions of one group that a card may hold.
const CARD_MENTIONS_MAX: usize = 100;

/// The labels of arrivals.
const BY_CARD: &str = "card";
const BY_DIRECTORY: &str = "directory";

/// Reads what users are and where they stand.
#[derive(Clone)]
pub struct OwnGroups {
    hub: Arc<Hub>,
    directory: Arc<dyn Directory>,
    cards: Arc<dyn Cards>,
    counts: Counts,
    admission: Admission,
}

/// What is known of a user's groups: those that still were the user's after listening began.
pub(super) type Known = HashMap<GroupId, (Membership, Count)>;

impl OwnGroups {
    /// By these stores, for users of this hub.
    pub fn new(
        hub: Arc<Hub>,
        directory: Arc<dyn Directory>,
        cards: Arc<dyn Cards>,
        counts: Counts,
        admission: Admission,
    ) -> Self {
        show_zero(&hub.metrics.arrivals, BY_CARD);
        show_zero(&hub.metrics.arrivals, BY_DIRECTORY);
        Self {
            hub,
            directory,
            cards,
            counts,
            admission,
        }
    }

    /// Who the user is, and all groups of the user, which are listened to from now on; with a place
    /// to be held until the arrival is over, if it is a cold one.
    ///
    /// # Errors
    /// A store does not answer, or too many arrive cold.
    pub(super) async fn all(
        &self,
        local: &Arc<LocalUser>,
    ) -> Result<(User, Known, Option<Admitted>)> {
        let kept = self.cards.get(local.id).await?;
        let arrivals = &self.hub.metrics.arrivals;
        let mut listened = Vec::new();
        if let Some(card) = kept.card {
            listened = card.groups.iter().map(|group| group.group).collect();
            if let Some(known) = self.by_card(local, &card, &listened).await? {
                arrivals.with_label_values(&[BY_CARD]).inc();
                return Ok((card.user, known, None));
            }
        }
        let has_cards = kept.version.is_some();
        let admitted = has_cards.then(|| self.admission.admit()).transpose()?;
        arrivals.with_label_values(&[BY_DIRECTORY]).inc();
        let read = self.by_directory(local, listened, kept.version);
        let (user, known) = read.await?;
        Ok((user, known, admitted))
    }

    /// As [`OwnGroups::all`], but where the user stands in `wanted` only.
    ///
    /// # Errors
    /// A store does not answer.
    pub(super) async fn some(
        &self,
        local: &Arc<LocalUser>,
        wanted: &HashSet<GroupId>,
    ) -> Result<Known> {
        let listened = self.listen(local).await?;
        let memberships = self.remaining(local, listened.iter()).await?;
        let groups = listened.into_iter();
        let groups: Vec<GroupId> = groups
            .filter(|group| wanted.contains(group) && memberships.contains_key(group))
            .collect();
        let counts = self.counts.of(local.id, &groups).await?;
        let known = groups.into_iter().zip(counts);
        Ok(known
            .filter_map(|(group, count)| Some((group, (*memberships.get(&group)?, count))))
            .collect())
    }

    /// Listening begins before the logs are asked: a removal in between is either a change of
    /// rights that the card does not know of, or is still to be pushed.
    async fn by_card(
        &self,
        local: &Arc<LocalUser>,
        card: &Card,
        groups: &[GroupId],
    ) -> Result<Option<Known>> {
        let tables = self.join(local, groups).await?;
        let Some(counts) = self.counts.by_card(card, &tables).await? else {
            return Ok(None);
        };
        for group in &card.groups {
            self.hub.note_members(group.group, group.members);
        }
        let known = card.groups.iter().zip(counts);
        Ok(Some(
            known
                .map(|(group, count)| (group.group, (group.membership, count)))
                .collect(),
        ))
    }

    async fn by_directory(
        &self,
        local: &Arc<LocalUser>,
        of_card: Vec<GroupId>,
        version: Option<u64>,
    ) -> Result<(User, Known)> {
        let listened = self.listen(local).await?;
        let opening = match version {
            Some(version) => Some((version, self.begin(&listened).await?)),
            None => None,
        };
        let all = listened.iter().chain(&of_card);
        let memberships = self.remaining(local, all).await?;
        let groups = listened.into_iter();
        let groups: Vec<GroupId> = groups
            .filter(|group| memberships.contains_key(group))
            .collect();
        let standings = self.counts.standings(local.id, &groups).await?;
        let user = self.user(local.id).await?;
        if let Some((version, begun)) = opening {
            let seats = groups.iter().zip(&standings).map(|(group, standing)| {
                let members = self.hub.group(*group)?.members();
                let membership = *memberships.get(group)?;
                seat((*group, members), membership, begun.get(group)?, standing)
            });
            if let Some(groups) = seats.collect() {
                let user = user.clone();
                self.cards.fill(version, &Card { user, groups }).await?;
            }
        }
        let known = groups.into_iter().zip(standings);
        let known = known.filter_map(|(group, standing)| {
            Some((group, (*memberships.get(&group)?, standing.count)))
        });
        Ok((user, known.collect()))
    }

    async fn user(&self, id: UserId) -> Result<User> {
        let users = self.directory.users(&[id]).await?;
        let user = users.into_iter().next();
        user.ok_or_else(|| Error::not_found("user"))
    }

    /// Listens to all of a user's groups, and answers them.
    async fn listen(&self, local: &Arc<LocalUser>) -> Result<Vec<GroupId>> {
        let memberships = self.memberships(local.id).await?;
        let groups: Vec<GroupId> = memberships.into_keys().collect();
        self.join(local, &groups).await?;
        Ok(groups)
    }

    /// What a card says of the moment before it is read: the last change of rights in each group, and
    /// since when mentions of all are kept.
    async fn begin(&self, groups: &[GroupId]) -> Result<HashMap<GroupId, (Position, String)>> {
        let heads = self.counts.heads_of(groups).await?;
        let rights = heads.into_iter().map(|head| head.rights);
        let begun = rights.zip(self.cards.begin(groups).await?);
        Ok(groups.iter().copied().zip(begun).collect())
    }

    /// The memberships that are still there after listening began; the listening to others ends.
    async fn remaining<'a>(
        &self,
        local: &Arc<LocalUser>,
        listened: impl Iterator<Item = &'a GroupId> + Send,
    ) -> Result<HashMap<GroupId, Membership>> {
        let memberships = self.memberships(local.id).await?;
        for group in listened.filter(|group| !memberships.contains_key(group)) {
            self.hub.part(local, *group);
        }
        Ok(memberships)
    }

    /// Makes the user listen; answers the epoch tables that listening began under.
    async fn join(&self, local: &Arc<LocalUser>, groups: &[GroupId]) -> Result<Vec<EpochTable>> {
        let mut tables = Vec::with_capacity(groups.len());
        for (group, reached) in self.hub.know(groups).await? {
            tables.push(reached.table.clone());
            self.hub.join(local, group, reached);
        }
        Ok(tables)
    }

    async fn memberships(&self, user: UserId) -> Result<HashMap<GroupId, Membership>> {
        let groups = self.directory.groups_of(user).await?;
        for (group, _) in &groups {
            self.hub.note_members(group.id, group.members);
        }
        Ok(groups
            .into_iter()
            .map(|(group, membership)| (group.id, membership))
            .collect())
    }
}

/// A group for the card; `None` if the card could not say all of it.
fn seat(
    (group, members): (GroupId, u64),
    membership: Membership,
    (rights, begun): &(Position, String),
    standing: &Standing,
) -> Option<CardGroup> {
    (standing.mentions.len() <= CARD_MENTIONS_MAX).then_some(())?;
    Some(CardGroup {
        group,
        members,
        membership,
        rights: *rights,
        mark: standing.mark?,
        mentions: standing.mentions.clone(),
        begun: begun.clone(),
    })
}
