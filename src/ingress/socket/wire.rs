//! Both ends of one connection. Texts come one after the other; pings and closes are answered on the
//! way and never seen by the session.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::AsyncRead;

use super::decoder::{Decoder, Item, Limits};
use super::reader::{self, ReadError};
use crate::egress::send_queue::{Pushed, SendQueue, Unsent};
use crate::protocol::client::FRAME_BYTES_MAX;
use crate::protocol::websocket::encode::{close_frame, pong_frame};

/// Frames that one message may come in.
const FRAGMENTS_MAX: u32 = 1024;

#[expect(clippy::cast_possible_truncation, reason = "160 KiB")]
const LIMITS: Limits = Limits {
    message_bytes_max: FRAME_BYTES_MAX as u32,
    fragments_max: FRAGMENTS_MAX,
    text_only: true,
};

/// The reading end of a stream, plain or TLS.
pub(super) trait Input: AsyncRead + Unpin + Send {}

impl<R: AsyncRead + Unpin + Send> Input for R {}

/// One connection.
pub(super) struct Wire<R> {
    /// The reading end.
    pub(super) input: R,
    decoder: Decoder,
    texts: VecDeque<String>,
    /// The writing end, to which goes what it answers by itself.
    pub(super) queue: Arc<SendQueue>,
}

impl<R: AsyncRead + Unpin> Wire<R> {
    /// Both ends of one connection.
    pub(super) fn new(input: R, queue: SendQueue) -> Self {
        Self {
            input,
            decoder: Decoder::new(LIMITS),
            texts: VecDeque::new(),
            queue: Arc::new(queue),
        }
    }

    /// Takes bytes that were read already.
    ///
    /// # Errors
    /// As [`Wire::next`].
    pub(super) fn feed(&mut self, mut bytes: Vec<u8>) -> Result<(), ReadError> {
        let Self {
            decoder,
            texts,
            queue,
            ..
        } = self;
        decoder.feed(&mut bytes, |item| collect(item, texts, queue))?;
        Ok(())
    }

    /// A text that arrived already.
    pub(super) fn take(&mut self) -> Option<String> {
        let text = self.texts.pop_front();
        if self.texts.is_empty() {
            self.texts.shrink_to_fit();
        }
        text
    }

    /// Waits until something arrives. Cancel safe.
    ///
    /// # Errors
    /// The stream ended or failed, the client closed, or broke the protocol.
    pub(super) async fn read(&mut self) -> Result<(), ReadError> {
        if self.queue.is_closed() {
            return Err(ReadError::Ended);
        }
        let Self {
            input,
            decoder,
            texts,
            queue,
        } = self;
        reader::read(input, decoder, |item| collect(item, texts, queue)).await
    }
}

fn collect(item: Item<'_>, texts: &mut VecDeque<String>, queue: &SendQueue) {
    match item {
        Item::Text(text) => texts.push_back(text.to_owned()),
        Item::Ping(payload) => {
            // A client that pings and does not read is not owed pongs.
            if queue.push(&pong_frame(payload)) == Pushed::Full {
                queue.abort();
            }
        }
        Item::Close(reason) => queue.close(&close_frame(reason), Unsent::Deliver),
        // The decoder refuses binary messages here.
        Item::Pong(_) | Item::Binary(_) => {}
    }
}
