//! Execution providers of ONNX Runtime: on which device, and in which precision, the encoder runs.

use std::fmt;

/// The execution provider of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Provider {
    /// CPU, with matrix products in int8.
    #[default]
    Cpu,
    /// CPU, with the float32 graph of the GPU. Slower; for comparison.
    CpuFloat,
    /// An NVIDIA GPU, with the CPU as the fallback.
    Cuda,
}

/// The precision of the encoder's matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 8-bit integers. Activations are rounded by a scale of the whole batch, so batching would
    /// change the answers. Posts run one by one; a CPU would not gain from batches.
    Int8,
    /// Float32. A post's answer does not depend on its batch, so posts run in batches.
    Float,
}

impl Provider {
    /// The precision of this provider.
    pub const fn precision(self) -> Precision {
        match self {
            Self::Cpu => Precision::Int8,
            Self::CpuFloat | Self::Cuda => Precision::Float,
        }
    }

    /// Every execution provider.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::CpuFloat, Self::Cuda];

    /// The value of `--model-provider` and of metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuFloat => "cpu-float",
            Self::Cuda => "cuda",
        }
    }
}

impl Precision {
    /// The graph's file in the model folder.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Int8 => "encoder.onnx",
            Self::Float => "encoder-float.onnx",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
