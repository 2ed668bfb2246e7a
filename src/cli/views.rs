//! The flags that choose the views of an image over which scores are averaged.

use clap::Args;

use super::error::CliError;
use crate::data::{Resize, Views};

/// Which views.
#[derive(Args)]
pub(super) struct ViewArgs {
    /// Average the scores of each image and its mirror image
    #[arg(long, conflicts_with = "ten_crop")]
    flip: bool,
    /// Average the scores of ten crops of each image: the centre and the corners, and those of its
    /// mirror image; for networks that take the centre of a larger image
    #[arg(long)]
    ten_crop: bool,
}

impl ViewArgs {
    /// Sets the views of a network's resize.
    ///
    /// # Errors
    /// If all crops would be the same.
    pub(super) fn apply(&self, resize: &mut Resize) -> Result<(), CliError> {
        let Resize {
            size, shorter_side, ..
        } = *resize;
        if self.ten_crop && size == shorter_side {
            return Err(CliError::Usage(format!(
                "--ten-crop takes crops of an image larger than the network's {size}x{size}, but \
                 this network takes the whole shorter side; use --flip"
            )));
        }
        resize.views = match (self.flip, self.ten_crop) {
            (true, _) => Views::Flip,
            (_, true) => Views::TenCrop,
            _ => Views::Centre,
        };
        Ok(())
    }
}
