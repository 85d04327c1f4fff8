/// Faults to be found: each breaks one promise of the design, in one place.
module LsmFs.Mutation.Tests.Mutations

open Mono.Cecil.Cil
open LsmFs.Mutation.Tests.Edits

/// The assembly that is changed.
type Assembly =
    | Engine
    | Host

/// A fault, and within how many seeds it is to be found.
type Mutation = { Name: string; Assembly: Assembly; SeedsMax: int; Edit: Edit }

let private mutation (name: string) (assembly: Assembly) (seedsMax: int) (edit: Edit) : Mutation = {
    Name = name
    Assembly = assembly
    SeedsMax = seedsMax
    Edit = edit
}

let all: Mutation list = [
    // Durable before visible as durable.
    mutation
        "a write is answered before the log has it"
        Host
        1000
        (drops All "GroupCommit" "TryAppend" "WriteAheadLogs" "Append")
    mutation
        "a write is answered before the log is synced"
        Host
        1000
        (drops All "GroupCommit" "TryAppend" "WriteAheadLogs" "Sync")
    mutation
        "a flush of everything is synced, and the name of its log is not"
        Host
        3000
        (drops All "WriteAheadLogs" "Sync" "DataFolder" "Sync")
    mutation
        "a flush of everything is synced, and what was written before it is not"
        Host
        3000
        (drops All "WriteAheadLogs" "Sync" "List`1" "ForEach")
    mutation
        "a write can be read before the log is synced"
        Host
        1000
        (together [
            repeatsEarlier
                "GroupCommit"
                "TryCommitGroup"
                "Store"
                "PublishCommit"
                (Before("GroupCommit", "TryAppend", 2))
            drops Last "GroupCommit" "TryCommitGroup" "WriteContext" "CommitMemtable"
            drops Last "GroupCommit" "TryCommitGroup" "Store" "PublishCommit"
        ])
    mutation
        "a failed sync of the log is taken for a good one"
        Host
        1000
        (drops All "GroupCommit" "TryAppend" "GroupCommit" "SetPoison")
    mutation "the folder is not synced after a new log" Host 1000 (drops All "LogWriter" "Create" "DataFolder" "Sync")
    mutation "a table is not synced" Host 1000 (drops All "TableWriter" "FinishTable" "StorageFile" "Sync")
    mutation
        "the folder is not synced after a table"
        Host
        1000
        (drops All "TableWriter" "OpenTables" "DataFolder" "Sync")
    mutation "a version edit is not synced" Host 1000 (drops All "ManifestWriter" "Append" "LogWriter" "Sync")
    mutation "a new manifest is not synced" Host 1000 (drops All "ManifestWriter" "Rewrite" "LogWriter" "Sync")
    mutation "the new CURRENT is not synced" Host 1000 (drops All "DataFolder" "Prepare" "StorageFile" "Sync")
    mutation "the folder is not synced after CURRENT" Host 1000 (drops All "DataFolder" "Replace" "DataFolder" "Sync")
    mutation
        "recovery serves what is only in the page cache"
        Host
        1000
        (drops All "DataFolder" "Settle" "StorageFile" "Sync")

    // Unreachable before deleted.
    mutation
        "logs are deleted before the edit that replaces them"
        Host
        1000
        (together [
            repeatsEarlier "BackgroundWork" "Flush" "Store" "DeleteLogsBefore" AtStart
            callsInstead First "BackgroundWork" "Flush" "SnapshotModule" "oldestLog" "oldestLogAfterFlush"
        ])
    mutation "what a snapshot holds is given back" Host 1000 (answers "Holds" "IsHeld" 0)
    mutation "what a reader may be at is given back" Host 3000 (invokesAtOnce "Epochs" "Retire" 0)
    mutation "leftover files stay" Host 1000 (doesNothing "StoreRecovery" "RemoveLeftovers")

    // Recovery.
    mutation "a torn tail is not cut" Host 1000 (doesNothing "StoreRecovery" "SettleLogs")
    mutation
        "the rest of a failed append is not cut off"
        Host
        1000
        (drops All "LogWriter" "CutTail" "StorageFile" "SetLength")
    mutation
        "a log record with a wrong checksum is believed"
        Engine
        3000
        (takesAsEqual "LogFile" "wholeFrameAt" "Checksum" "extend")
    mutation "half a batch is applied" Engine 1000 (halves "Recovery" "applyFrame" "Frame" "PayloadLength@")
    mutation
        "recovery forgets a flush_all"
        Engine
        1000
        (passesThrough "Recovery" "applyFrame" "FlushStateModule" "apply")
    mutation
        "the manifest needs a log that is deleted"
        Engine
        1000
        (callsInstead All "Work" "flushEdit" "SnapshotModule" "oldestLogAfterFlush" "oldestLog")
    mutation
        "the manifest forgets the last sequence number"
        Engine
        1000
        (drops All "Work" "flushEdit" "Snapshot" "get_LastSequence")
    mutation "the manifest forgets a flush_all" Engine 1000 (drops All "Work" "flushEdit" "SnapshotShape" "flush")

    // Never wrong.
    mutation
        "two writes have one sequence number"
        Host
        1000
        (turns "WriteContext" "Advance" [ OpCodes.Add ] [ OpCodes.Or ])
    mutation "the cas unique that a touch keeps is not stored" Host 1000 (losesArgument "WriteContext" "Put" "cas")
    mutation "a filter denies keys that are there" Engine 1000 (deniesEighth "Partition" "mayContain" 1)
    mutation
        "in a merge the older entry wins"
        Engine
        1000
        (turns "Merge" "isBefore" [ OpCodes.Cgt_Un ] [ OpCodes.Clt_Un ])
    mutation "a tombstone is dropped too soon" Engine 1000 (answers "BottomTracker" "IsBottom" 1)
    mutation "an expired value gives back what it hid" Engine 1000 (doesNothing "Job" "bury")
    mutation "expiry is forgotten by reads" Engine 1000 (drops All "Lookup" "judge" "Entry" "IsExpired")
]
