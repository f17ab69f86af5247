//! The functions that run inside Redis: their text, names and calls.

use redis::{Cmd, cmd};
use sha2::{Digest as _, Sha256};

/// The text of the functions, of which `@VERSION@` is to be replaced: a file for each matter, each
/// knowing those before it.
pub const TEMPLATE: &str = concat!(
    include_str!("functions/log.lua"),
    include_str!("functions/append.lua"),
    include_str!("functions/opening.lua"),
    include_str!("functions/witness.lua"),
    include_str!("functions/consumers.lua"),
    include_str!("functions/leases.lua"),
    include_str!("functions/cards.lua"),
    include_str!("functions/presence.lua"),
    include_str!("functions/register.lua"),
);

/// The functions that `functions/register.lua` registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Append,
    Counted,
    Prepare,
    Open,
    Stored,
    Ack,
    Claim,
    Idle,
    Empty,
    Beat,
    Lease,
    Card,
    Fill,
    Hold,
    LetGo,
    BeginMark,
    EndMark,
    Mention,
    MentionAll,
    BeginAll,
    Alive,
    Arrive,
    Depart,
    Bury,
    Online,
    Tell,
    Suspect,
    Settle,
}

impl Function {
    const fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Counted => "counted",
            Self::Prepare => "prepare",
            Self::Open => "open",
            Self::Stored => "stored",
            Self::Ack => "ack",
            Self::Claim => "claim",
            Self::Idle => "idle",
            Self::Empty => "empty",
            Self::Beat => "beat",
            Self::Lease => "lease",
            Self::Card => "card",
            Self::Fill => "fill",
            Self::Hold => "hold",
            Self::LetGo => "let_go",
            Self::BeginMark => "begin_mark",
            Self::EndMark => "end_mark",
            Self::Mention => "mention",
            Self::MentionAll => "mention_all",
            Self::BeginAll => "begin_all",
            Self::Alive => "alive",
            Self::Arrive => "arrive",
            Self::Depart => "depart",
            Self::Bury => "bury",
            Self::Online => "online",
            Self::Tell => "tell",
            Self::Suspect => "suspect",
            Self::Settle => "settle",
        }
    }
}

/// The text of the functions, under a version that is its digest: two versions of the server
/// share a Redis, and neither replaces what the other calls.
#[derive(Debug)]
pub(super) struct Library {
    version: String,
}

impl Library {
    pub(super) fn new() -> Self {
        let digest = Sha256::digest(TEMPLATE);
        let version = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self { version }
    }

    /// Loads the functions.
    pub(super) fn load(&self) -> Cmd {
        let text = TEMPLATE.replace("@VERSION@", &self.version);
        let mut load = cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(text);
        load
    }

    /// A call of `function` with these keys, to which arguments are to be added.
    pub(super) fn call(&self, function: Function, keys: &[String]) -> Cmd {
        let mut call = cmd("FCALL");
        call.arg(format!("{}_{}", function.name(), self.version))
            .arg(keys.len())
            .arg(keys);
        call
    }
}
