using System.Buffers;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.Win32.SafeHandles;
using MLNetMultimodal.Models.Checkpoints;

namespace MLNetMultimodal.Inference.Onnx;

/// <summary>Names for prepared graphs: a SHA-256 of all that they depend on. That is the graph, the content of its weights, how
/// they are stored and laid out, this library's code, ONNX Runtime and the processor.</summary>
static class GraphKey
{
    const string Version = "1"; // of what GraphCache writes
    const int PieceBytes = 4 << 20, BufferBytes = 1 << 18;

    /// <summary>Bytes that are hashed by themselves: in memory or, where <see cref="File"/> is given, in a file.</summary>
    readonly record struct Piece(ReadOnlyMemory<byte> Memory, string? File, long Offset, int Length);

    /// <summary>True where the key tells processors apart that want other layouts of weights.</summary>
    public static bool KnowsProcessor => X86Base.IsSupported;

    /// <summary>The key of a recorded model.</summary>
    /// <param name="model">As it is recorded in 32-bit floats with mapped weights; those are read from their files.</param>
    /// <param name="options">How it is going to be recorded and opened.</param>
    /// <exception cref="IOException">A file of weights cannot be read.</exception>
    public static string Of(OnnxModel model, InferenceOptions options)
    {
        ModelProto slim = model.Proto.Clone(); // shares the bytes of the weights
        string folder = model.Mapped.Count > 0 ? Path.GetDirectoryName(model.Mapped.First().Key)! : "";
        var pieces = new List<Piece>();
        foreach (TensorProto tensor in slim.Graph.Initializer)
        {
            if (tensor.ExternalData.Count == 0) pieces.AddRange(Pieces(tensor.RawData.Memory));
            else
            {
                Dictionary<string, string> at = tensor.ExternalData.ToDictionary(e => e.Key, e => e.Value);
                long Number(string name) => long.Parse(at[name], CultureInfo.InvariantCulture);
                pieces.AddRange(Pieces(Path.Combine(folder, at["location"]), Number("offset"), Number("length")));
                // The same weights elsewhere are the same model.
                tensor.ExternalData.Clear();
                tensor.DataLocation = TensorProto.Types.DataLocation.Default;
            }
            tensor.RawData = ByteString.Empty;
        }
        byte[] stored = Encoding.UTF8.GetBytes($"{options.Dtype ?? OnnxDtype.Fp32} {options.ShareWeights}");
        return Of([slim.ToByteArray(), stored], pieces);
    }

    /// <summary>The key of a graph in a folder, or in memory.</summary>
    /// <param name="files">The folder.</param>
    /// <param name="paths">The graph and the files of its weights.</param>
    /// <param name="options">How it is going to be opened.</param>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public static string Of(ModelFiles files, IEnumerable<string> paths, InferenceOptions options)
    {
        var heads = new List<byte[]> { Encoding.UTF8.GetBytes($"{options.ShareWeights}") };
        var pieces = new List<Piece>();
        foreach (string path in paths)
        {
            Piece[] found = files.Folder is { } folder
                ? [.. Pieces(Path.Combine(folder, path), 0, new FileInfo(Path.Combine(folder, path)).Length)]
                : [.. Pieces(files.Read(path))];
            heads.Add(Encoding.UTF8.GetBytes($"{Path.GetFileName(path)} {found.Sum(p => (long)p.Length)}"));
            pieces.AddRange(found);
        }
        return Of(heads, pieces);
    }

    static IEnumerable<Piece> Pieces(ReadOnlyMemory<byte> memory)
    {
        for (int at = 0; at < memory.Length; at += PieceBytes)
        {
            int length = Math.Min(PieceBytes, memory.Length - at);
            yield return new(memory.Slice(at, length), null, 0, length);
        }
    }

    static IEnumerable<Piece> Pieces(string file, long offset, long length)
    {
        for (long at = 0; at < length; at += PieceBytes)
            yield return new(default, file, offset + at, (int)Math.Min(PieceBytes, length - at));
    }

    static string Of(IEnumerable<byte[]> heads, List<Piece> pieces)
    {
        var hashes = new byte[pieces.Count][];
        Parallel.For(0, pieces.Count, i => hashes[i] = Hash(pieces[i]));
        using var all = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (byte[] part in heads.Prepend(Encoding.UTF8.GetBytes(Surroundings())))
        {
            all.AppendData(BitConverter.GetBytes(part.Length));
            all.AppendData(part);
        }
        foreach (byte[] hash in hashes) all.AppendData(hash);
        return Convert.ToHexStringLower(all.GetHashAndReset());
    }

    static byte[] Hash(Piece piece)
    {
        if (piece.File is null) return SHA256.HashData(piece.Memory.Span);
        // Not by way of a map, whose pages would count as this process's memory.
        using SafeFileHandle handle = File.OpenHandle(piece.File);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        for (int done = 0; done < piece.Length;)
        {
            Span<byte> next = buffer.AsSpan(0, Math.Min(buffer.Length, piece.Length - done));
            int read = RandomAccess.Read(handle, next, piece.Offset + done);
            if (read == 0)
                throw new EndOfStreamException($"'{piece.File}' became shorter while it was read; load the model again.");
            hash.AppendData(buffer, 0, read);
            done += read;
        }
        ArrayPool<byte>.Shared.Return(buffer);
        return hash.GetHashAndReset();
    }

    static string Surroundings() => string.Join('\n', Version, typeof(GraphKey).Module.ModuleVersionId,
        OrtEnv.Instance().GetVersionString(), RuntimeInformation.RuntimeIdentifier, RuntimeInformation.ProcessArchitecture,
        Processor());

    static string Processor()
    {
        if (!X86Base.IsSupported) return "";
        (int family, _, int features, int more) = X86Base.CpuId(1, 0); // the second tells which core this is
        return string.Join(' ', X86Base.CpuId(0, 0), family, features, more, X86Base.CpuId(7, 0), X86Base.CpuId(7, 1));
    }
}
