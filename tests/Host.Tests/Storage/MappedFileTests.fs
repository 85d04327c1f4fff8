module LsmFs.Host.Tests.MappedFileTests

// Space taken ahead on real files: writes below it are stores into shared memory, and a file must not show which of the two a write was.

open System
open System.IO
open Expecto
open Expecto.Flip
open LsmFs.Host
open LsmFs.Host.Tests.Folders

let private create (folder: string) (name: string) : StorageFile =
    FileSystem.OfOperatingSystem.Create(Path.Combine(folder, name))

let private requireMapping (isTaken: bool) =
    if not isTaken then
        skiptest "files of this folder are not mapped"

[<Tests>]
let tests =
    testList "MappedFile" [
        testCase "a file holds what was written, whatever was taken ahead, cut and written beyond" (fun () ->
            withFolder (fun folder ->
                for seed in 1..60 do
                    let random = Random seed
                    let name = $"{seed}"
                    use file = create folder name
                    let mutable model: byte[] = [||]
                    let extend (length: int) = Array.Resize(&model, max model.Length length)

                    for step in 1..40 do
                        match random.Next 8 with
                        | 0 ->
                            let length = model.Length + random.Next 20_000

                            if file.TryTakeAhead(int64 length) then
                                extend length
                            else
                                // It may be longer, and is zeros there.
                                extend (int file.LengthBytes)
                        | 1 ->
                            let length = random.Next(model.Length + 1)
                            file.SetLength(int64 length)
                            Array.Resize(&model, length)
                        | 2 -> file.Sync()
                        | _ ->
                            let bytes = Array.init (random.Next 6000) (fun index -> byte (index + step))
                            let offset = random.Next(model.Length + 1)
                            file.Write(ReadOnlySpan<byte> bytes, int64 offset)
                            extend (offset + bytes.Length)
                            bytes.CopyTo(model, offset)

                    Expect.equal $"seed {seed}" model (File.ReadAllBytes(Path.Combine(folder, name)))))

        testCase "a file may outgrow the memory it was mapped into" (fun () ->
            withFolder (fun folder ->
                use file = create folder "large"
                let last = 70L * 1024L * 1024L
                file.TryTakeAhead 4096L |> requireMapping
                file.Write("first"B, 0L)
                file.TryTakeAhead last |> Expect.isTrue "taken"
                file.Write("second"B, 4094L)
                file.Write("last"B, last - 4L)
                let bytes = Array.zeroCreate<byte> 4
                file.ReadExactly(bytes.AsSpan(), last - 4L)
                bytes |> Expect.equal "the end" "last"B
                file.ReadExactly(bytes.AsSpan(), 0L)
                bytes |> Expect.equal "the beginning" "firs"B
                file.ReadExactly(bytes.AsSpan(), 4096L)
                bytes |> Expect.equal "across pages" "cond"B))

        if FullDiskTests.withSmallDisk ignore then
            testCase "space that is not there is an error, and not the end of the process" (fun () ->
                FullDiskTests.withSmallDisk (fun disk ->
                    use file = create disk "file"
                    file.TryTakeAhead 500_000L |> requireMapping
                    File.WriteAllBytes(Path.Combine(disk, "filler"), Array.zeroCreate 400_000)

                    Expect.throwsT<IOException> "no space" (fun () -> file.TryTakeAhead 2_000_000L |> ignore)

                    // What was taken is still there.
                    file.Write(ReadOnlySpan<byte>(Array.create 500_000 1uy), 0L)
                    file.SetLength 100L
                    file.Write("more"B, 98L)
                    file.LengthBytes |> Expect.equal "its length" 102L)
                |> Expect.isTrue "mounted")
    ]
