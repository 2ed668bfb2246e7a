//! Errors as JavaScript sees them.

use pyr_wgpu::data::DataError;
use pyr_wgpu::engine::EngineError;
use pyr_wgpu::gpu::GpuError;
use pyr_wgpu::predict::PredictError;
use pyr_wgpu::train::TrainError;
use pyr_wgpu::trained_model::TrainedModelError;
use wasm_bindgen::JsValue;

/// An error with a code that the page handles.
pub(crate) struct Fault {
    code: &'static str,
    message: String,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl ToString) -> Fault {
        Fault {
            code,
            message: message.to_string(),
        }
    }
}

impl From<Fault> for JsValue {
    fn from(fault: Fault) -> JsValue {
        let error = js_sys::Error::new(&fault.message);
        // Setting a property of a new object cannot fail.
        let _ = js_sys::Reflect::set(&error, &"code".into(), &fault.code.into());
        error.into()
    }
}

impl From<GpuError> for Fault {
    fn from(error: GpuError) -> Fault {
        // The library's messages name options of the command line, which the page lacks.
        match error {
            GpuError::NoAdapter { .. } => Fault::new(
                "no-adapter",
                "the browser gives this page no graphics adapter",
            ),
            GpuError::Open { adapter, reason } => Fault::new(
                "no-adapter",
                format!("{adapter} cannot be opened: {reason}"),
            ),
            GpuError::OutOfMemory { adapter, .. } => {
                Fault::new("out-of-memory", format!("{adapter} ran out of memory"))
            }
            GpuError::BufferTooLarge { bytes, limit, .. } => Fault::new(
                "out-of-memory",
                format!("it needs a buffer of {bytes} bytes, this device allows at most {limit}"),
            ),
            GpuError::Lost(reason) => Fault::new("lost", reason),
            GpuError::Rejected(reason) => Fault::new(
                "failed",
                format!("the browser's graphics driver refuses a call: {reason}"),
            ),
            other => Fault::new("failed", other),
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Fault {
        match error {
            EngineError::Gpu(error) => error.into(),
            EngineError::Memory(error) => Fault::new("out-of-memory", error),
            other => Fault::new("failed", other),
        }
    }
}

impl From<PredictError> for Fault {
    fn from(error: PredictError) -> Fault {
        match error {
            PredictError::Engine(error) => error.into(),
            other => Fault::new("failed", other),
        }
    }
}

impl From<TrainError> for Fault {
    fn from(error: TrainError) -> Fault {
        match error {
            TrainError::Engine(error) => error.into(),
            other => Fault::new("failed", other),
        }
    }
}

impl From<TrainedModelError> for Fault {
    fn from(error: TrainedModelError) -> Fault {
        Fault::new("checkpoint", error)
    }
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Fault {
        Fault::new("picture", error)
    }
}
