//! What a user can do about the errors of the layers below, in words of the script language, which only this room speaks:
//! [`run`], [`model`], [`data`] and [`plot`], a file for each. Cures without such words stand beside their errors.

mod data;
mod model;
mod plot;
mod run;
