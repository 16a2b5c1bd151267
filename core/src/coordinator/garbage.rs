//! Memory that is given up. Freeing much of it takes time, so it is left to jobs.

/// Values at least this large are freed in a job, not in a call of the machine.
pub(crate) const RELEASE_FROM: usize = 1 << 16;

/// Large values that nothing needs any more.
#[derive(Default)]
pub(crate) struct Garbage(Vec<Box<dyn Send>>);

impl Garbage {
    /// Takes a value of about so many bytes. A small one is freed at once.
    pub(crate) fn add(&mut self, bytes: usize, value: impl Send + 'static) {
        if bytes >= RELEASE_FROM {
            self.0.push(Box::new(value));
        }
    }
}

/// What there is, in order.
impl IntoIterator for Garbage {
    type Item = Box<dyn Send>;
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
