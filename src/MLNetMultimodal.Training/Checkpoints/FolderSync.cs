using System.Runtime.InteropServices;

namespace MLNetMultimodal.Training;

/// <summary>Flushes a folder's entries to the disk, which .NET offers for files only.</summary>
static partial class FolderSync
{
    /// <summary>Makes renames in the folder outlast a loss of power where the system can promise it; elsewhere does
    /// nothing.</summary>
    public static void Flush(string folder)
    {
        if (OperatingSystem.IsWindows()) return; // NTFS keeps a journal of its entries
        int descriptor = Open(folder, 0);        // O_RDONLY
        if (descriptor < 0) return;
        _ = Synchronize(descriptor);
        _ = Close(descriptor);
    }

    [LibraryImport("libc", EntryPoint = "open", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync")]
    private static partial int Synchronize(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
