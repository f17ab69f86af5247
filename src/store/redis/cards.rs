//! Cards as hashes, one for each person; what their fields hold is told in `functions/log.lua`.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use redis::{Value, cmd};

use super::fault::corrupt;
use super::keys;
use super::library::Function;
use super::links::{HomeCall, Links};
use super::reply::{at, list, number, pairs, text};
use super::topology::shard::Lane;
use super::walk::all_keys;
use crate::model::group::Membership;
use crate::model::id::{GroupId, Partition, UserId};
use crate::model::position::Position;
use crate::model::role::Role;
use crate::model::unread::{ReadMark, Totals};
use crate::model::user::User;
use crate::store::Result;
use crate::store::cards::{Card, CardGroup, Cards, Kept};
use crate::store::unread::Learnt;

/// Cards read in one write.
const CARDS: usize = 500;

/// [`Cards`] in Redis.
pub(super) struct RedisCards {
    links: Arc<Links>,
}

impl RedisCards {
    pub(super) const fn new(links: Arc<Links>) -> Self {
        Self { links }
    }

    /// Calls a function about the card of a user.
    async fn call(&self, function: Function, user: UserId, args: &[String]) -> Result<Value> {
        let mut call = self.links.library.call(function, &[keys::card(user)]);
        call.arg(args);
        let home = keys::card_partition(user);
        self.links.call(Lane::Reads, home, &call).await
    }

    /// Adds the mentions of all that were told since; false if some may be missing.
    async fn add_mentions_of_all(&self, card: &mut Card) -> Result<bool> {
        let read = |group: &CardGroup| {
            let mut read = cmd("GET");
            read.arg(keys::mentions_of_all(group.group));
            (group.group.into(), read)
        };
        let reads: Vec<HomeCall> = card.groups.iter().map(read).collect();
        let lists = self.links.all(Lane::Reads, &reads).await?;
        for (group, list) in card.groups.iter_mut().zip(&lists) {
            let list = match list {
                Value::Nil => return Ok(false),
                list => text(list)?,
            };
            let mut words = list.split(' ');
            if words.next() != Some(&group.begun) {
                return Ok(false);
            }
            for word in words {
                let (pos, by) = mention_of_all(word)?;
                let is_new = !group.mentions.contains(&pos);
                if by != card.user.id && pos > group.mark.pos && is_new {
                    group.mentions.push(pos);
                }
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl Cards for RedisCards {
    async fn get(&self, user: UserId) -> Result<Kept> {
        let answer = self.call(Function::Card, user, &[]).await?;
        let answer = list(&answer)?;
        let version = Some(number(at(answer, 0)?)?);
        let card = answer.get(1).map(|fields| read(user, fields));
        let Some(mut card) = card.transpose()?.flatten() else {
            return Ok(Kept {
                version,
                card: None,
            });
        };
        let is_whole = self.add_mentions_of_all(&mut card).await?;
        Ok(Kept {
            version,
            card: is_whole.then_some(card),
        })
    }

    async fn begin(&self, groups: &[GroupId]) -> Result<Vec<String>> {
        let begin = |group: &GroupId| {
            let key = keys::mentions_of_all(*group);
            (
                (*group).into(),
                self.links.library.call(Function::BeginAll, &[key]),
            )
        };
        let calls: Vec<HomeCall> = groups.iter().map(begin).collect();
        let begun = self.links.all(Lane::Reads, &calls).await?;
        begun
            .iter()
            .map(|begun| text(begun).map(str::to_owned))
            .collect()
    }

    async fn fill(&self, version: u64, card: &Card) -> Result<bool> {
        let mut args = vec![version.to_string()];
        args.extend(["u".to_owned(), write_user(&card.user)]);
        args.extend(card.groups.iter().flat_map(write));
        let filled = self.call(Function::Fill, card.user.id, &args).await?;
        Ok(number(&filled)? == 1)
    }

    async fn hold(&self, user: UserId) -> Result<()> {
        self.call(Function::Hold, user, &[]).await?;
        Ok(())
    }

    async fn let_go(&self, user: UserId) -> Result<()> {
        self.call(Function::LetGo, user, &[]).await?;
        Ok(())
    }

    async fn begin_mark(&self, user: UserId, group: GroupId) -> Result<u64> {
        let args = [group.to_string()];
        let begun = self.call(Function::BeginMark, user, &args);
        number(&begun.await?)
    }

    async fn end_mark(
        &self,
        user: UserId,
        group: GroupId,
        number: u64,
        mark: ReadMark,
    ) -> Result<()> {
        let args = [group.to_string(), number.to_string(), write_mark(mark)];
        self.call(Function::EndMark, user, &args).await?;
        Ok(())
    }

    async fn note(&self, learnt: &Learnt) -> Result<()> {
        let mut calls: Vec<HomeCall> = Vec::new();
        let of_others = learnt
            .mentions
            .iter()
            .filter(|(_, user, _, by)| by.by != *user);
        for (group, user, pos, _) in of_others {
            let mut call = self
                .links
                .library
                .call(Function::Mention, &[keys::card(*user)]);
            call.arg(group.to_string()).arg(pos.to_string());
            calls.push((keys::card_partition(*user).into(), call));
        }
        for (group, pos, by) in &learnt.mentions_all {
            let key = keys::mentions_of_all(*group);
            let mut call = self.links.library.call(Function::MentionAll, &[key]);
            call.arg(format!("{pos}/{by}"));
            calls.push(((*group).into(), call));
        }
        if !calls.is_empty() {
            self.links.all(Lane::Reads, &calls).await?;
        }
        Ok(())
    }

    async fn marks(&self, partitions: &[Partition]) -> Result<Vec<(UserId, GroupId, ReadMark)>> {
        let cards = all_keys(&self.links, "c{*").await?;
        let users = cards.iter().filter_map(|key| keys::user_of_card(key));
        let users: Vec<UserId> = users.collect();
        let mut found = Vec::new();
        for users in users.chunks(CARDS) {
            let read = |user: &UserId| {
                let mut read = cmd("HGETALL");
                read.arg(keys::card(*user));
                (keys::card_partition(*user).into(), read)
            };
            let reads: Vec<HomeCall> = users.iter().map(read).collect();
            let cards = self.links.all(Lane::Reads, &reads).await?;
            for (user, card) in users.iter().zip(&cards) {
                found.extend(marks(*user, card)?);
            }
        }
        found.retain(|(_, group, _)| partitions.contains(&group.partition()));
        Ok(found)
    }
}

/// The read marks in the fields of a card, also those of which nothing is counted.
fn marks(user: UserId, fields: &Value) -> Result<Vec<(UserId, GroupId, ReadMark)>> {
    let mut marks = Vec::new();
    for (name, kept) in pairs(fields)? {
        let name = text(name)?;
        let Some(group) = name.strip_prefix("r:").or_else(|| name.strip_prefix("o:")) else {
            continue;
        };
        if let (Ok(group), Some(mark)) = (group.parse(), read_mark(text(kept)?)) {
            marks.push((user, group, mark));
        }
    }
    Ok(marks)
}

/// The card in a hash; nothing if a mark is on its way.
fn read(user: UserId, fields: &Value) -> Result<Option<Card>> {
    let mut texts = HashMap::new();
    for [name, value] in list(fields)?.as_chunks::<2>().0 {
        texts.insert(text(name)?, text(value)?);
    }
    let person = texts.get("u").ok_or_else(|| corrupt("a card of nobody"))?;
    let (name, display_name) = person
        .split_once(' ')
        .ok_or_else(|| corrupt("a card without a name"))?;
    let mut groups = Vec::new();
    for (id, kept) in texts
        .iter()
        .filter_map(|(name, kept)| Some((name.strip_prefix("g:")?, *kept)))
    {
        let Some(mark) = texts.get(&*format!("r:{id}")) else {
            return Ok(None);
        };
        let mentions = texts.get(&*format!("m:{id}")).copied().unwrap_or("");
        let group = read_group(id, kept, mark, mentions);
        groups.push(group.ok_or_else(|| corrupt(format!("group {id} of a card")))?);
    }
    Ok(Some(Card {
        user: User {
            id: user,
            name: name.to_owned(),
            display_name: display_name.to_owned(),
        },
        groups,
    }))
}

fn read_group(id: &str, kept: &str, mark: &str, mentions: &str) -> Option<CardGroup> {
    let [members, merchant, role, joined, rights, begun] = words(kept)?;
    let mark = read_mark(mark)?;
    let mentions = mentions.split_whitespace().map(|pos| pos.parse().ok());
    let mentions: Option<Vec<Position>> = mentions.collect();
    Some(CardGroup {
        group: id.parse().ok()?,
        members: members.parse().ok()?,
        membership: Membership {
            merchant: merchant.parse().ok()?,
            role: Role::from_code(role.parse().ok()?)?,
            joined: Some(joined.parse().ok()?),
        },
        rights: rights.parse().ok()?,
        mentions: mentions?.into_iter().filter(|at| *at > mark.pos).collect(),
        mark,
        begun: begun.to_owned(),
    })
}

fn read_mark(kept: &str) -> Option<ReadMark> {
    let [pos, count, own] = words(kept)?;
    Some(ReadMark {
        pos: pos.parse().ok()?,
        totals: Totals {
            count: count.parse().ok()?,
            own: own.parse().ok()?,
        },
    })
}

fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    let words: Vec<&str> = text.split(' ').collect();
    words.try_into().ok()
}

fn mention_of_all(word: &str) -> Result<(Position, UserId)> {
    let read = || {
        let (pos, by) = word.split_once('/')?;
        Some((pos.parse().ok()?, by.parse().ok()?))
    };
    read().ok_or_else(|| corrupt(format!("a mention of all of {} bytes", word.len())))
}

/// An account name has no blanks; a shown name may.
fn write_user(user: &User) -> String {
    format!("{} {}", user.name, user.display_name)
}

fn write_mark(mark: ReadMark) -> String {
    let ReadMark { pos, totals } = mark;
    format!("{pos} {} {}", totals.count, totals.own)
}

/// The fields of a group. One without a `joined` event is none of a member's.
fn write(group: &CardGroup) -> Vec<String> {
    let CardGroup {
        group: id,
        members,
        membership,
        rights,
        mark,
        mentions,
        begun,
    } = group;
    let Membership {
        merchant,
        role,
        joined,
    } = membership;
    let joined = joined.unwrap_or_default();
    let mentions: Vec<String> = mentions.iter().map(ToString::to_string).collect();
    vec![
        format!("g:{id}"),
        format!(
            "{members} {merchant} {} {joined} {rights} {begun}",
            role.code()
        ),
        format!("r:{id}"),
        write_mark(*mark),
        format!("m:{id}"),
        mentions.join(" "),
    ]
}
