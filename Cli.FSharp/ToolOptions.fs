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
