//! An image: its stack packed layer by layer, its configuration, its manifest.

use reimage_castore::{Patterns, View};
use reimage_plan::{Compression, Image, Owner, StepId, StepKind};

use crate::{
    Engine, StepError,
    baseline::FILE_TIME,
    build::ImageRecord,
};
