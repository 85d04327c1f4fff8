namespace LsmFs.Cli

/// What `lsmfs tree` is to do.
type TreeOptions = {
    /// The folder of the data, as given.
    DataFolder: string
}

/// What `lsmfs check` is to do.
type CheckOptions = {
    /// The folder of the data, as given.
    DataFolder: string
}

/// What `lsmfs dump` is to do.
type DumpOptions = {
    /// The folder of the data, as given.
    DataFolder: string
    /// The file to write, as given; none: stdout.
    OutFile: string voption
}
