//! No cards: directory, marks and logs are one file of this process, and a card would be a second
//! copy of it there.

use async_trait::async_trait;

use crate::model::id::{GroupId, UserId};
use crate::model::unread::ReadMark;
use crate::store::Result;
use crate::store::cards::{Card, Cards, Kept};
use crate::store::unread::Learnt;

/// [`Cards`] that are never there.
pub struct NoCards;

#[async_trait]
impl Cards for NoCards {
    async fn get(&self, _user: UserId) -> Result<Kept> {
        Ok(Kept {
            version: None,
            card: None,
        })
    }

    async fn begin(&self, groups: &[GroupId]) -> Result<Vec<String>> {
        Ok(vec![String::new(); groups.len()])
    }

    async fn fill(&self, _version: u64, _card: &Card) -> Result<bool> {
        Ok(false)
    }

    async fn hold(&self, _user: UserId) -> Result<()> {
        Ok(())
    }

    async fn let_go(&self, _user: UserId) -> Result<()> {
        Ok(())
    }

    async fn begin_mark(&self, _user: UserId, _group: GroupId) -> Result<u64> {
        Ok(0)
    }

    async fn end_mark(
        &self,
        _user: UserId,
        _group: GroupId,
        _number: u64,
        _mark: ReadMark,
    ) -> Result<()> {
        Ok(())
    }

    async fn note(&self, _learnt: &Learnt) -> Result<()> {
        Ok(())
    }
}
