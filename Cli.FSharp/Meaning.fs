namespace LsmFs.Cli

/// What a flag or an `-o` option of memcached is to lsmfs. Help, start-up lines and the table in docs/PROTOCOL.md follow from it.
[<RequireQualifiedAccess>]
type Meaning =
    /// It does what it does in memcached.
    | Works
    /// It asks for what is so in any case, or for nothing: accepted in silence.
    | Same of Reason: string
    /// It has no effect, and nothing is lost by that: accepted, and a line says so.
    | Nothing of Reason: string
    /// It has no effect, and somebody may count on one: accepted, and a warning says so.
    | Missing of Reason: string
    /// To accept it would be to promise what is not done.
    | Refused of Reason: string

/// A line for whoever starts the server about flags that have no effect.
type Notice = {
    /// Whether something may be missed that somebody counts on.
    IsWarning: bool
    /// One line.
    Text: string
}

/// What is to be said about flags that have no effect.
[<RequireQualifiedAccess>]
module Notice =

    let private textOf (names: string list) (reason: string) =
        let names = List.distinct names
        let have = if names.Length = 1 then "has" else "have"
        let names = String.concat ", " names
        $"{names} {have} no effect: {reason}"

    /// The lines about flags and options, named as a user would name them; those with the same reason share a line.
    let linesOf (given: (string * Meaning) list) : Notice list =
        given
        |> List.choose (fun (name, meaning) ->
            match meaning with
            | Meaning.Nothing reason -> Some((false, reason), name)
            | Meaning.Missing reason -> Some((true, reason), name)
            | Meaning.Works
            | Meaning.Same _
            | Meaning.Refused _ -> None)
        |> List.groupBy fst
        |> List.map (fun ((isWarning, reason), given) -> {
            IsWarning = isWarning
            Text = textOf (List.map snd given) reason
        })

    /// The line about a memory limit, in bytes, in whose place a larger one is used.
    let ofMemoryLimit (askedBytes: int64) (usedBytes: int64) : Notice = {
        IsWarning = true
        Text = $"-m {askedBytes >>> 20} is taken as -m {usedBytes >>> 20}, the least that lsmfs works with"
    }

    /// The refusal of the first that is refused, if one is.
    let refusalOf (given: (string * Meaning) list) : Result<unit, string> =
        given
        |> List.tryPick (fun (name, meaning) ->
            match meaning with
            | Meaning.Refused reason -> Some(Error $"{name}: {reason}")
            | Meaning.Works
            | Meaning.Same _
            | Meaning.Nothing _
            | Meaning.Missing _ -> None)
        |> Option.defaultValue (Ok())

/// Why flags of memcached have no effect. Several share a reason.
[<RequireQualifiedAccess>]
module internal Because =

    let noSlabs = "there are no slabs, an item takes the bytes that it has"
    let noLru = "nothing is evicted, so there is no order of eviction"
    let noHashTable = "keys are kept in order, not in a hash table"
    let noCrawler = "compaction removes what has expired, without a crawler"
    let noLogBuffers = "there are no log buffers to size"
    let noExternalStorage = "all items are in files, in the folder of --data"
    let noProxy = "lsmfs is no proxy"
