namespace LsmFs.Engine

/// What a level adds up to, as the manifest tells.
type LevelSummary = {
    Level: int
    TableCount: int
    /// Bytes of the files.
    SizeBytes: int64
    /// Tombstones included.
    EntryCount: int64
    TombstoneCount: int64
    /// The first Unix time in seconds at which a value expires; 0 when none ever does.
    EarliestExpirySeconds: uint32
    /// The Unix time in seconds at which everything has expired; 0 when something never does.
    LatestExpirySeconds: uint32
    SmallestKey: byte[]
    LargestKey: byte[]
}

/// Adding up levels.
[<RequireQualifiedAccess>]
module LevelSummary =

    let private extreme (isBetter: int -> bool) (keys: byte[][]) : byte[] =
        keys
        |> Array.reduce (fun best key ->
            if isBetter (Version.compareKeys key best) then
                key
            else
                best)

    let private ofTables (level: int) (tables: TableMeta[]) : LevelSummary =
        let properties = tables |> Array.map _.Properties
        let expiries = properties |> Array.map _.EarliestExpirySeconds |> Array.filter ((<>) 0u)
        let latest = properties |> Array.map _.LatestExpirySeconds

        {
            Level = level
            TableCount = tables.Length
            SizeBytes = tables |> Array.sumBy _.SizeBytes
            EntryCount = properties |> Array.sumBy _.EntryCount
            TombstoneCount = properties |> Array.sumBy _.TombstoneCount
            EarliestExpirySeconds = if expiries.Length = 0 then 0u else Array.min expiries
            LatestExpirySeconds = if Array.contains 0u latest then 0u else Array.max latest
            SmallestKey = properties |> Array.map _.SmallestKey |> extreme (fun order -> order < 0)
            LargestKey = properties |> Array.map _.LargestKey |> extreme (fun order -> order > 0)
        }

    /// The levels that have tables, shallowest first. O(tables).
    let ofVersion (version: Version) : LevelSummary[] =
        version.Levels
        |> Array.indexed
        |> Array.filter (fun (_, tables) -> tables.Length > 0)
        |> Array.map (fun (level, tables) -> ofTables level tables)

    /// Bytes of all levels for each byte of the deepest one that has any: about how much larger the store is than what it holds. 1 at least,
    /// and 1 for a store without tables.
    let spaceAmplification (levels: LevelSummary[]) : float =
        match Array.tryLast levels with
        | Some deepest when deepest.SizeBytes > 0L ->
            float (levels |> Array.sumBy _.SizeBytes) / float deepest.SizeBytes
        | _ -> 1.0
