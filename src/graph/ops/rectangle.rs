//! A rectangle of pixels, as words of an operand.

/// Pixels from `top` to before `bottom` and from `left` to before `right`; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rectangle {
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Row after the last.
    pub bottom: u32,
    /// Column after the last.
    pub right: u32,
}

/// Words of a [`Rectangle`].
pub const RECTANGLE_WORDS: usize = 4;

impl Rectangle {
    /// Top, left, bottom, right.
    pub fn to_words(self) -> [u32; RECTANGLE_WORDS] {
        [self.top, self.left, self.bottom, self.right]
    }

    /// The inverse of [`Rectangle::to_words`].
    ///
    /// # Panics
    /// If there are fewer words.
    pub fn from_words(words: &[u32]) -> Rectangle {
        Rectangle {
            top: words[0],
            left: words[1],
            bottom: words[2],
            right: words[3],
        }
    }

    /// Whether a pixel is inside.
    pub fn contains(&self, row: usize, column: usize) -> bool {
        let inside = |at: usize, first: u32, end: u32| at >= first as usize && at < end as usize;
        inside(row, self.top, self.bottom) && inside(column, self.left, self.right)
    }

    /// Number of pixels.
    pub fn area(&self) -> u64 {
        let [height, width] = [self.bottom - self.top, self.right - self.left];
        u64::from(height) * u64::from(width)
    }
}
