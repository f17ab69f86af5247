//! What goes into a statement and what comes out of it, in the few types that all engines keep:
//! bytes, text, 64-bit integers and nothing.
//!
//! [`args!`] turns model types into values; [`Row::columns`] turns columns back, in the order of
//! the statement's list, and calls `Corrupt` what this version cannot have written.

use crate::model::client_id::ClientId;
use crate::model::id::{GroupId, MerchantId, SessionId, UserId};
use crate::model::position::Position;
use crate::model::role::{Role, StaffRole};
use crate::model::time::Time;
use crate::store::{Result, StoreError};

/// A value for a placeholder.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// An identifier, or several packed ones.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// A time, a code, a count.
    Int(i64),
}

/// A model type that fits one placeholder.
pub trait Bind {
    /// The value to bind.
    fn value(&self) -> Value<'_>;
}

/// Values for the placeholders `$1`, `$2` and so on.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { &[$($crate::store::relational::value::Bind::value(&$arg)),*] };
}
pub(in crate::store) use args;

/// The value of one column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// SQL's NULL.
    Null,
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
    /// An integer of any width.
    Int(i64),
}

/// A model type that is read from one column.
pub trait Column: Sized {
    /// The value; `None` if the column cannot hold it.
    fn from_cell(cell: Cell) -> Option<Self>;
}

/// One row of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    store: &'static str,
    cells: Vec<Cell>,
}

impl Row {
    /// A row that `store` answered.
    pub const fn new(store: &'static str, cells: Vec<Cell>) -> Self {
        Self { store, cells }
    }

    /// Its columns, first to last.
    pub fn columns(self) -> Columns {
        Columns {
            store: self.store,
            cells: self.cells.into_iter(),
        }
    }

    /// The value of its only column.
    ///
    /// # Errors
    /// As [`Columns::take`].
    pub fn only<T: Column>(self) -> Result<T> {
        self.columns().take()
    }
}

/// The columns of a row that are not taken yet.
#[derive(Debug)]
pub struct Columns {
    store: &'static str,
    cells: std::vec::IntoIter<Cell>,
}

impl Columns {
    /// The next column.
    ///
    /// # Errors
    /// `Corrupt` if it cannot hold a `T`.
    pub fn take<T: Column>(&mut self) -> Result<T> {
        let value = self.cells.next().and_then(T::from_cell);
        value.ok_or_else(|| self.corrupt(std::any::type_name::<T>()))
    }

    /// The next two columns as a position.
    ///
    /// # Errors
    /// As [`Columns::take`].
    pub fn position(&mut self) -> Result<Position> {
        Ok(Position::new(self.take()?, self.take()?))
    }

    /// The error for a column that should have held `what`.
    pub fn corrupt(&self, what: &str) -> StoreError {
        StoreError::corrupt(self.store, format!("a column that should hold {what}"))
    }
}

macro_rules! identifiers {
    ($($id:ty),+) => { $(
        impl Bind for $id {
            fn value(&self) -> Value<'_> {
                Value::Bytes(self.as_bytes())
            }
        }

        impl Column for $id {
            fn from_cell(cell: Cell) -> Option<Self> {
                match cell {
                    Cell::Bytes(bytes) => Self::from_slice(&bytes),
                    Cell::Null | Cell::Text(_) | Cell::Int(_) => None,
                }
            }
        }
    )+ };
}
identifiers!(UserId, MerchantId, GroupId, SessionId, ClientId);

macro_rules! integers {
    ($($type:ty: $bind:expr, $read:expr;)+) => { $(
        impl Bind for $type {
            fn value(&self) -> Value<'_> {
                Value::Int($bind(*self))
            }
        }

        impl Column for $type {
            fn from_cell(cell: Cell) -> Option<Self> {
                match cell {
                    Cell::Int(value) => $read(value),
                    Cell::Null | Cell::Text(_) | Cell::Bytes(_) => None,
                }
            }
        }
    )+ };
}
integers! {
    i64: std::convert::identity, Some;
    u32: i64::from, |value: i64| value.try_into().ok();
    // Positions and counts stay far below the bound (PART_MAX is 2^53 - 1).
    u64: |value: u64| value.try_into().unwrap_or(i64::MAX), |value: i64| value.try_into().ok();
    Time: Time::as_millis, |value| Some(Time::from_millis(value));
    Role: |role: Role| role.code().into(), |code: i64| Role::from_code(code.try_into().ok()?);
    StaffRole: |role: StaffRole| role.code().into(),
        |code: i64| StaffRole::from_code(code.try_into().ok()?);
}

impl Bind for &str {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Bind for String {
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl Column for String {
    fn from_cell(cell: Cell) -> Option<Self> {
        match cell {
            Cell::Text(text) => Some(text),
            Cell::Null | Cell::Bytes(_) | Cell::Int(_) => None,
        }
    }
}

impl<T: Column> Column for Option<T> {
    fn from_cell(cell: Cell) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            some => T::from_cell(some).map(Some),
        }
    }
}

/// Bytes as they are: the lower bound of a page, or identifiers packed by [`packed`].
impl Bind for Vec<u8> {
    fn value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

/// Identifiers end to end, for the placeholder that [`wanted!`] unpacks.
pub fn packed<'a>(ids: impl IntoIterator<Item = &'a [u8; 16]>) -> Vec<u8> {
    ids.into_iter().flatten().copied().collect()
}

/// The head of a statement that unpacks the identifiers in `$1` into rows of `wanted (id)`.
/// Engines do not agree on arrays; they agree on this, and so one statement serves lists of any
/// length.
macro_rules! wanted {
    ($statement:literal) => {
        concat!(
            "WITH RECURSIVE cut (place) AS (
                 SELECT 1 WHERE length($1) > 0
                 UNION ALL SELECT place + 16 FROM cut WHERE place + 16 < length($1)),
             wanted (id) AS (SELECT substr($1, place, 16) FROM cut) ",
            $statement
        )
    };
}
pub(super) use wanted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_cannot_hold_the_type_is_corrupt() {
        let cells = vec![
            Cell::Bytes(vec![1; 15]),
            Cell::Int(99),
            Cell::Int(-1),
            Cell::Null,
        ];
        let mut columns = Row::new("test", cells).columns();
        assert!(columns.take::<UserId>().is_err(), "15 bytes");
        assert!(columns.take::<Role>().is_err(), "an unknown role");
        assert!(columns.take::<u64>().is_err(), "a negative count");
        assert_eq!(columns.take::<Option<u64>>().unwrap(), None);
        assert!(columns.take::<Option<u64>>().is_err(), "no column left");
    }
}
