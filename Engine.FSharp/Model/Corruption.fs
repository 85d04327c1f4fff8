namespace LsmFs.Engine

/// Bytes on disk that cannot be what was written: which file, where in it, and what is wrong.
type Corruption = {
    /// The file's name inside the data folder, such as `000007.wal`.
    File: string
    /// Where the damaged structure begins, in bytes from the start of the file.
    OffsetBytes: int64
    /// What was expected and what was found, in one clause.
    Reason: string
} with

    /// One line for an operator.
    override corruption.ToString() = $"%s{corruption.File}: offset %d{corruption.OffsetBytes}: %s{corruption.Reason}"

/// Making `Corruption` values.
[<RequireQualifiedAccess>]
module Corruption =

    /// `Error` with the given place and reason.
    let at (file: string) (offsetBytes: int64) (reason: string) : Result<'value, Corruption> =
        Error { File = file; OffsetBytes = offsetBytes; Reason = reason }
