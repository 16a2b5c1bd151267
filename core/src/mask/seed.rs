//! The seed of a mask.

use crate::crypto::secret_bytes;

secret_bytes! {
    /// The seed that a mask is derived from (specification, section 5): whoever knows it can take
    /// the mask off.
    MaskSeed, 32
}
