//! What can be wrong with a mixture, with rows given to it, and with its training.

use crate::help::Help;

/// Why a mixture was refused, could not read rows, or could not be trained.
#[derive(Debug, thiserror::Error)]
pub enum MfaError {
    #[error("a mixture of {components} components of rank {rank} over {width} numbers does nothing")]
    Empty { components: usize, rank: usize, width: usize },
    #[error("{rank} directions a component, in rows of {width} numbers")]
    Rank { rank: usize, width: usize },
    #[error("`{name}` holds {found} numbers, expected {expected}")]
    Size { name: &'static str, found: usize, expected: usize },
    #[error("`{name}` holds {value}")]
    NotFinite { name: &'static str, value: f64 },
    #[error("the mixture reads rows of {expected} numbers, these have {found}")]
    Width { found: usize, expected: usize },
    #[error("the rows hold {value}, in row {row}")]
    Row { row: usize, value: f32 },
    #[error("component {k} does not exist: the mixture has {components}")]
    Component { k: usize, components: usize },
    #[error("option `{name}` is {found}, expected {expected}")]
    Option { name: &'static str, found: String, expected: String },
    #[error("{rows} rows are too few for {components} components")]
    Few { rows: usize, components: usize },
    #[error("the directions of component {k} depend on each other")]
    Dependent { k: usize },
    #[error("the training ran away at step {step} of epoch {epoch}")]
    Diverged { epoch: usize, step: usize },
    #[error("the training that was kept is another: its `{name}` is {found}, not {expected}")]
    OtherTraining { name: String, found: String, expected: String },
    #[error("the file holds no training to go on with")]
    NoTraining,
    #[error("not a safetensors file: {0}")]
    NotSafetensors(String),
    #[error("a file of PyTorch's, which holds a program")]
    PyTorch,
    #[error("the file has no tensor `{name}`")]
    MissingTensor { name: &'static str },
    #[error("the file has a tensor `{name}`, which no mixture has")]
    ExtraTensor { name: String },
    #[error("tensor `{name}` has shape {found:?}, expected {expected}")]
    Shape { name: &'static str, found: Vec<usize>, expected: String },
    #[error("tensor `{name}` is of type {dtype}")]
    TensorType { name: String, dtype: String },
    #[error("the file says that `{name}` is `{found}`, expected {expected}")]
    Metadata { name: &'static str, found: String, expected: String },
    #[error("the directions of the components are stored rotated")]
    Rotated,
    #[error("{0}")]
    KMeans(#[from] crate::analysis::kmeans::KMeansError),
    #[error("the card cannot go on: {0}")]
    Card(String),
    #[error("cannot keep the training: {0}")]
    Io(#[from] std::io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// Makes a file that can be read of one by PyTorch.
const CONVERT: &str = "convert it once, in Python: `c = torch.load(\"in.ckpt\", \"cpu\", weights_only=True); \
safetensors.torch.save_file(c[\"state_dict\"], \"out.safetensors\", {k: str(v) for k, v in c[\"meta\"].items()})`";

impl Help for MfaError {
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Empty { .. } => "give at least one component, and a rank of at least 1".into(),
            Self::Rank { width, .. } => format!("give a rank of 1 to {width}"),
            Self::Size { .. } | Self::Shape { .. } | Self::Metadata { .. } | Self::MissingTensor { .. } => {
                "check what wrote the mixture".into()
            }
            Self::NotFinite { .. } => "check what trained the mixture".into(),
            Self::Width { expected, .. } => {
                format!("give activations of {expected} numbers, from the site that the mixture is of")
            }
            Self::Row { .. } => "leave out rows that are not numbers".into(),
            Self::Component { components, .. } => format!("components are 0 to {}", components - 1),
            Self::Option { name, .. } => format!("leave out `{name}`, or give another"),
            Self::Few { .. } => "give more rows, or ask for fewer components".into(),
            Self::Dependent { .. } => "the component has no coordinates: look at its posterior means".into(),
            Self::Diverged { .. } => "give a smaller `lr`, or a `clip`".into(),
            Self::OtherTraining { .. } => {
                "give the options of that training, or begin anew in another file".into()
            }
            Self::NoTraining => "give a file that a training kept, or begin anew".into(),
            Self::NotSafetensors(_) => "give a file that `save` wrote".into(),
            Self::PyTorch => CONVERT.into(),
            Self::ExtraTensor { .. } | Self::TensorType { .. } => {
                "give a file that holds a mixture alone".into()
            }
            Self::Rotated => "take the rotation away before it is saved".into(),
            Self::KMeans(error) => return error.help(),
            Self::Card(_) => "give a smaller `batch`, or `device: \"cpu\"`".into(),
            Self::Io(_) | Self::Interrupted => return None,
        })
    }
}

impl From<candle_core::Error> for MfaError {
    fn from(error: candle_core::Error) -> Self {
        // The rest would be where in the program it was found.
        MfaError::Card(error.to_string().lines().next().unwrap_or_default().into())
    }
}

pub type Result<T> = std::result::Result<T, MfaError>;
