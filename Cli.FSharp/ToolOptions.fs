namespace LsmFs.Cli

/// What `lsmfs tree` is to do.
type TreeOptions = {
    /// The folder of the data, as given.
    DataFolder: string
}
