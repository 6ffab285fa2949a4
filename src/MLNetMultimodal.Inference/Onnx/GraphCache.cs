using System.Globalization;
using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>A folder of graphs as ONNX Runtime runs them on this processor: optimised, and those that this library recorded with
/// weights in the layout of its kernels, which processes map and share. Each has a folder of its own, named by
/// <see cref="GraphKey"/>, that is there whole or not at all. Thread-safe, between processes too.</summary>
/// <param name="folder">Its path; made where it is missing, for this user only. Who can write there decides what models
/// compute.</param>
sealed class GraphCache(string folder)
{
    /// <summary>The environment variable that names the folder where no option does.</summary>
    public const string Variable = "MULTIMODAL_GRAPH_CACHE";

    const string GraphFile = "model.onnx", WeightFile = "model.onnx_data", Unfinished = ".tmp";
    const int Alignment = 256; // that of ONNX Runtime's own memory
    const int Attempts = 3;
    static readonly TimeSpan Abandoned = TimeSpan.FromDays(1);

    /// <summary>The cache that the options ask for; null for none.</summary>
    public static GraphCache? Of(InferenceOptions options) =>
        (options.GraphCacheFolder ?? Environment.GetEnvironmentVariable(Variable)) is { Length: > 0 } folder ? new(folder) : null;

    /// <summary>Opens a graph, which is made first where it is not there or cannot be read.</summary>
    /// <param name="key">What it is made of.</param>
    /// <param name="settings">For the session.</param>
    /// <param name="prepare">Opens a session whose options have gone through <see cref="KeepIn"/> or <see cref="KeepLaidOutIn"/>
    /// with the given folder; false where it turns out that the graph does not belong under the key.</param>
    /// <returns>Null where <paramref name="prepare"/> says false.</returns>
    /// <exception cref="IOException">The graph cannot be written.</exception>
    /// <exception cref="OnnxRuntimeException">ONNX Runtime refuses the graph.</exception>
    public InferenceSession? Open(string key, SessionOptions settings, Func<string, bool> prepare)
    {
        settings.GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL; // it is optimised already
        string entry = Path.Combine(Path.GetFullPath(folder), key), graph = Path.Combine(entry, GraphFile);
        for (int attempt = 1; ; attempt++)
        {
            if (!Directory.Exists(entry) && !TryMake(entry, prepare)) return null;
            try
            {
                return new(graph, settings);
            }
            catch (OnnxRuntimeException) when (attempt < Attempts)
            {
                Remove(entry); // damaged, or removed by another that had found it so
            }
        }
    }

    bool TryMake(string entry, Func<string, bool> prepare)
    {
        try
        {
            return Make(entry, prepare);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"the graph cache '{folder}' cannot be written: {e.Message} Set GraphCacheFolder or {Variable} "
                + "to another folder, or to nothing for none.", e);
        }
    }

    /// <summary>Makes a session write its graph and its weights into a folder when it is opened.</summary>
    public static void KeepIn(string folder, SessionOptions settings)
    {
        settings.OptimizedModelFilePath = Path.Combine(folder, GraphFile);
        settings.AddSessionConfigEntry("session.optimized_model_external_initializers_file_name", WeightFile);
        settings.AddSessionConfigEntry("session.optimized_model_external_initializers_min_size_in_bytes", "1024");
    }

    /// <summary>The same with weights in the layout that kernels want too, for a graph that has no graphs in it.</summary>
    public static void KeepLaidOutIn(string folder, SessionOptions settings)
    {
        KeepIn(folder, settings);
        // It depends on the processor, of which the key tells enough on x86 only.
        if (GraphKey.KnowsProcessor) settings.AddSessionConfigEntry("session.save_external_prepacked_constant_initializers", "1");
    }

    bool Make(string entry, Func<string, bool> prepare)
    {
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(folder);
        else Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        RemoveAbandoned();
        string temporary = $"{entry}.{Guid.NewGuid():N}{Unfinished}";
        Directory.CreateDirectory(temporary);
        try
        {
            if (!prepare(temporary)) return false;
            Align(Path.Combine(temporary, GraphFile), Path.Combine(temporary, WeightFile));
            foreach (string file in Directory.EnumerateFiles(temporary))
                using (FileStream stream = new(file, FileMode.Open, FileAccess.Write)) stream.Flush(flushToDisk: true);
            Publish(temporary, entry);
            return true;
        }
        finally
        {
            Remove(temporary);
        }
    }

    /// <summary>Kernels read weights in their layout by instructions that want aligned addresses, but ONNX Runtime (1.31) aligns in
    /// the file only those of more than 1 MB: others are written once more behind all.</summary>
    internal static void Align(string graph, string weights)
    {
        ModelProto model = ModelProto.Parser.ParseFrom(File.ReadAllBytes(graph)); // what is not known is kept
        StringStringEntryProto[] laidOut = [.. model.Graph.Initializer.SelectMany(i => i.ExternalData)
            .Where(e => e.Key.StartsWith("prepacked_", StringComparison.Ordinal))];
        if (laidOut.Length == 0) return;
        using (FileStream data = new(weights, FileMode.Open, FileAccess.ReadWrite))
            foreach (StringStringEntryProto entry in laidOut) entry.Value = Align(entry.Value, data);
        File.WriteAllBytes(graph, model.ToByteArray());
    }

    // kernel|offset;length;checksum|offset;length;checksum ...
    static string Align(string buffers, FileStream data)
    {
        string[] parts = buffers.Split('|');
        for (int i = 1; i < parts.Length; i++)
        {
            string[] numbers = parts[i].Split(';');
            if (numbers.Length != 3 || !Number(numbers[0], out long offset) || !Number(numbers[1], out long length)
                || offset > data.Length || length > data.Length - offset)
                throw new NotSupportedException($"ONNX Runtime {OrtEnv.Instance().GetVersionString()} keeps weights in a form that "
                    + $"is not known here ('{buffers}'); set GraphCacheFolder and {Variable} to nothing.");
            if (offset % Alignment != 0)
                parts[i] = FormattableString.Invariant($"{Append(data, offset, length)};{length};{numbers[2]}");
        }
        return string.Join('|', parts);
    }

    static bool Number(string text, out long number) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    static long Append(FileStream data, long offset, long length)
    {
        var bytes = new byte[length];
        data.Position = offset;
        data.ReadExactly(bytes);
        data.Position = (data.Length + Alignment - 1) / Alignment * Alignment;
        long place = data.Position;
        data.Write(bytes);
        return place;
    }

    static void Publish(string temporary, string entry)
    {
        try
        {
            Directory.Move(temporary, entry);
        }
        catch (IOException) when (File.Exists(Path.Combine(entry, GraphFile)))
        {
            // Another was faster, with the same.
        }
    }

    /// <summary>What processes that were killed have left.</summary>
    void RemoveAbandoned()
    {
        foreach (string path in Directory.EnumerateDirectories(folder, $"*{Unfinished}"))
            if (DateTime.UtcNow - Directory.GetLastWriteTimeUtc(path) > Abandoned) Remove(path); // no time at all where it is gone
    }

    static void Remove(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (DirectoryNotFoundException)
        {
            // Another has removed or finished it.
        }
    }
}
