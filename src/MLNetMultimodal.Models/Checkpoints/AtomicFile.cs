namespace MLNetMultimodal.Models.Checkpoints;

/// <summary>Writes files so that a reader, or a crash, never sees half of one.</summary>
public static class AtomicFile
{
    /// <summary>Writes to a temporary name beside <paramref name="path"/>, flushes to the disk and renames; on failure the
    /// temporary file is removed.</summary>
    /// <param name="path">The file; replaced where it exists. Its folder is created.</param>
    /// <param name="write">Writes the content.</param>
    public static void Write(string path, Action<Stream> write)
    {
        string full = Path.GetFullPath(path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        string temporary = $"{full}.{Guid.NewGuid():N}.tmp";
        try
        {
            // Nobody else writes under this name; who looks at all files of the folder may read it.
            using (var stream = new FileStream(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.Read, 1 << 16))
            {
                write(stream);
                stream.Flush(flushToDisk: true);
            }
            File.Move(temporary, full, overwrite: true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes text as UTF-8.</summary>
    /// <param name="path">The file; replaced where it exists.</param>
    /// <param name="text">Its content.</param>
    public static void WriteText(string path, string text) => Write(path, stream => stream.Write(System.Text.Encoding.UTF8.GetBytes(text)));
}
