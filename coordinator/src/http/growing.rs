//! The bytes of a message as they come, and the memory that is granted for them.

use tokio::time::{timeout, Duration, Instant};

use super::memory::Claim;

/// A message is granted memory for at least so many bytes more, if there are as many: what is announced need not come.
const STEP: usize = 64 << 10;

/// Once one in so many of the bytes that are announced has come, there is memory for the others, too. Up to then what a message
/// has grows with it.
const EARNED: usize = 8;

/// There is no memory for more.
#[derive(Debug)]
pub(super) struct NoMemory;

/// A message that is being received. It never has more memory than it was granted: also addresses are memory, where somebody
/// has used them before.
pub(super) struct Growing {
    pub bytes: Vec<u8>,
    pub claim: Claim,
    /// How many bytes it will have, or 0 if nobody knows; no more than `limit`.
    pub announced: usize,
    pub limit: usize,
}

impl Growing {
    /// Makes room for what has come, once there is memory for it, and takes it. Tells for how long it waited for memory, which
    /// is `patience` at most.
    pub async fn add(&mut self, data: &[u8], patience: Duration) -> Result<Duration, NoMemory> {
        let length = self.bytes.len() + data.len();
        let mut waited = Duration::ZERO;
        if length > self.bytes.capacity() {
            let wanted = self.wanted(length);
            let granted = match wanted.into_iter().find(|wanted| self.claim.try_grow(*wanted)) {
                Some(granted) => granted,
                None => {
                    let waiting = Instant::now();
                    timeout(patience, self.claim.grow(length)).await.map_err(|_| NoMemory)?;
                    waited = waiting.elapsed();
                    length
                }
            };
            let more = granted - self.bytes.len();
            self.bytes.try_reserve_exact(more).map_err(|_| NoMemory)?;
        }
        self.bytes.extend_from_slice(data);
        Ok(waited)
    }

    /// How many bytes it would like to have room for, and how many will do, when it has so many.
    fn wanted(&self, length: usize) -> [usize; 2] {
        let (has, is_announced) = (self.bytes.len(), self.announced >= length);
        let most = if is_announced { self.announced } else { self.limit };
        let step = has.saturating_add(STEP.max(has / 8));
        let wanted = match length.saturating_mul(EARNED) >= self.announced {
            true if is_announced => self.announced,
            true => step,
            false => has.saturating_mul(2).max(STEP),
        };
        [wanted, step].map(|wanted| wanted.clamp(length, most))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::{collection::vec, prelude::*};

    use super::{
        super::{memory::Memory, peers::Peer},
        *,
    };

    const LIMIT: usize = 4 << 20;

    fn growing(memory: &Arc<Memory>, announced: usize) -> Growing {
        let needed = if announced > 0 { announced } else { LIMIT };
        let claim = memory.claim(Peer::LOCAL, needed);
        Growing { bytes: Vec::new(), claim, announced, limit: LIMIT }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    }

    /// Hundreds of messages that are announced, and of which a byte comes: nothing is reserved for the rest.
    #[test]
    fn what_is_announced_and_does_not_come_takes_no_memory() {
        runtime().block_on(async {
            let memory = Memory::new(1 << 30, 1 << 30);
            let mut all: Vec<_> = (0..300).map(|_| growing(&memory, LIMIT)).collect();
            for message in &mut all {
                message.add(b"x", Duration::ZERO).await.unwrap();
                assert!(message.bytes.capacity() <= STEP, "{}", message.bytes.capacity());
            }
            let capacity: usize = all.iter().map(|message| message.bytes.capacity()).sum();
            assert_eq!(memory.held(), capacity);
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever comes in whatever pieces, announced or not, with enough memory and with hardly any.
        #[test]
        fn no_message_has_more_memory_than_it_was_granted(
            pieces in vec(1_usize..400_000, 1..20),
            is_announced: bool,
            is_tight: bool,
        ) {
            runtime().block_on(async {
                let length = pieces.iter().sum::<usize>().min(LIMIT);
                let total = if is_tight { LIMIT } else { 8 * LIMIT };
                let memory = Memory::new(total, total);
                // Beside another one that needs all of it, if there is little. (And once more, when both are gone.)
                for _ in 0..2 {
                    let mut other = growing(&memory, LIMIT);
                    other.add(&vec![3; 400_000], Duration::ZERO).await.unwrap();
                    let mut message = growing(&memory, if is_announced { length } else { 0 });
                    let mut left = length;
                    for piece in &pieces {
                        let data = vec![7; (*piece).min(left)];
                        left -= data.len();
                        if message.add(&data, Duration::ZERO).await.is_err() {
                            assert!(is_tight);
                            break;
                        }
                        let most = message.bytes.capacity() + other.bytes.capacity();
                        assert!(most <= memory.held(), "{most} of {}", memory.held());
                        let has = message.bytes.len();
                        assert!(message.bytes.capacity() <= has.saturating_mul(EARNED).max(has + STEP));
                    }
                    assert!(is_tight || message.bytes[..] == vec![7; length - left][..]);
                }
            });
        }
    }
}
