namespace LsmFs.Cli

open System
open System.IO
open System.Reflection

/// What `lsmfs -i` prints.
[<RequireQualifiedAccess>]
module internal Licences =

    // Everything that is shipped with the program and is not its own.
    let private builtWith = [
        "the .NET runtime and Microsoft.Extensions", ".NET Foundation and Contributors"
        "FSharp.Core", "Microsoft Corporation"
        "Argu", "Eirik Tsarpalis and contributors"
        "K4os.Compression.LZ4", "Milosz Krajewski, after LZ4 by Yann Collet"
        "ZstdSharp.Port", "Oleg Stepanischev, after Zstandard by Meta Platforms"
    ]

    /// The licence of lsmfs, and those of its parts.
    let text (title: string) : string =
        let own =
            match Assembly.GetExecutingAssembly().GetManifestResourceStream "LICENSE" with
            | null -> invalidOp "the licence is not in the program"
            | stream ->
                use reader = new StreamReader(stream)
                reader.ReadToEnd().TrimEnd()

        String.Join(
            Environment.NewLine,
            [
                title
                ""
                own
                ""
                "It is built with these, each under the MIT License as well:"
                ""
                for part, holder in builtWith do
                    $"    {part}, (c) {holder}"
            ]
        )
