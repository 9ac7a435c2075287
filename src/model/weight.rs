//! Matrices of weights, as tensors or in the blocks of few bits of a GGUF file.

use super::cpu::blocks::Blocks;
use super::error::Result;
use super::ops;
use candle_core::Tensor;

/// The matrix of a linear map.
#[derive(Debug, Clone)]
pub enum Weight {
    /// `[in, out]`, and the same numbers in fewer bytes where products of few rows can read these.
    Dense(Tensor, Option<Blocks>),
    /// In blocks alone: whoever needs the tensor makes it, and drops it.
    Blocks(Blocks),
}

impl Weight {
    /// `[in, out]`
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Weight::Dense(tensor, _) => Ok(tensor.clone()),
            Weight::Blocks(blocks) => ops::transpose(&blocks.dense(0..blocks.dims().0)?),
        }
    }

    /// The matrix that a change of the tensor makes, and the same change of the blocks.
    pub fn map(
        &self,
        tensor: impl FnOnce(&Tensor) -> Result<Tensor>,
        blocks: impl FnOnce(&Blocks) -> candle_core::Result<Blocks>,
    ) -> Result<Weight> {
        Ok(match self {
            Weight::Dense(dense, beside) => {
                Weight::Dense(tensor(dense)?, beside.as_ref().map(blocks).transpose()?)
            }
            Weight::Blocks(kept) => Weight::Blocks(blocks(kept)?),
        })
    }

    pub fn blocks(&self) -> Option<&Blocks> {
        match self {
            Weight::Dense(_, blocks) => blocks.as_ref(),
            Weight::Blocks(blocks) => Some(blocks),
        }
    }
}

/// A vector for each token, which embeds or unembeds it.
#[derive(Debug, Clone)]
pub enum Table {
    /// `[d_vocab, d_model]`, and the same numbers in fewer bytes where products of few rows can read these.
    Dense(Tensor, Option<Blocks>),
    Blocks(Blocks),
}

impl Table {
    /// `[d_vocab, d_model]`
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Table::Dense(tensor, _) => Ok(tensor.clone()),
            Table::Blocks(blocks) => Ok(blocks.dense(0..blocks.dims().0)?),
        }
    }

    pub fn blocks(&self) -> Option<&Blocks> {
        match self {
            Table::Dense(_, blocks) => blocks.as_ref(),
            Table::Blocks(blocks) => Some(blocks),
        }
    }

    /// The vectors of some tokens, `[ids, d_model]`.
    pub fn rows(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Table::Dense(tensor, _) => Ok(tensor.index_select(&Tensor::new(ids, tensor.device())?, 0)?),
            Table::Blocks(blocks) => {
                Ok(blocks.select(ids.iter().map(|&id| id as usize))?.dense(0..ids.len())?)
            }
        }
    }
}
