using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using static MLNetMultimodal.Inference.InferenceMode;

namespace MLNetMultimodal.Inference.Tests;

public sealed class GraphCacheTests : IDisposable
{
    const float Same = 0; // the same operators on the same numbers

    static readonly string[] Texts = ["a cat", "a photo of a dog", "a cat and a dog and a bird"];

    readonly TemporaryFolder _folder = new();

    string Cache => _folder.File("cache");

    string[] Entries => Directory.Exists(Cache) ? [.. Directory.EnumerateDirectories(Cache).Order(StringComparer.Ordinal)] : [];

    public void Dispose() => _folder.Dispose();

    string Folder(string name = "model", int seed = 1, IEnumerable<KeyValuePair<string, ReadOnlyMemory<byte>>>? files = null)
    {
        files ??= Tiny.Files(weights: Tiny.Weights(Tiny.Clip, seed));
        foreach ((string file, ReadOnlyMemory<byte> content) in files)
            AtomicFile.Write(_folder.File($"{name}/{file}"), stream => stream.Write(content.Span));
        return _folder.File(name);
    }

    static float[] Embed(string folder, InferenceOptions options)
    {
        using MultimodalModel model = MultimodalModel.Load(folder, options);
        return Embed(model);
    }

    static float[] Embed(MultimodalModel model) => [.. model.EmbedTexts(Texts).Concat(model.EmbedImages([Tiny.Picture(1), Tiny.Picture(2)]))
        .Concat(model.EmbedTexts([Texts[0]])).SelectMany(e => e)];

    float[] Cached(string folder, InferenceOptions? options = null) =>
        Embed(folder, (options ?? new()) with { GraphCacheFolder = Cache });

    [Theory]
    [InlineData(OnnxDtype.Fp32, Latency, false, 3), InlineData(OnnxDtype.Fp32, Latency, true, 2), InlineData(OnnxDtype.Fp32, Throughput, false, 2)]
    [InlineData(OnnxDtype.Fp16, Latency, false, 3), InlineData(OnnxDtype.Int8, Latency, false, 2)]
    [InlineData(OnnxDtype.Q4, Latency, false, 2), InlineData(OnnxDtype.Q8Blocks, Latency, false, 2)]
    public void A_kept_graph_gives_what_a_new_one_gives(OnnxDtype dtype, InferenceMode mode, bool shareWeights, int graphs)
    {
        string folder = Folder();
        var options = new InferenceOptions { Dtype = dtype, Mode = mode, ShareWeights = shareWeights };
        float[] expected = Embed(folder, options with { GraphCacheFolder = "" });
        Difference.Small(expected, Cached(folder, options), Same);
        string[] made = Entries;
        Assert.Equal(graphs, made.Length); // a tower each, and one for single texts
        Difference.Small(expected, Cached(folder, options), Same);
        Assert.Equal(made, Entries);
    }

    [Fact]
    public void A_graph_that_is_there_is_the_one_that_runs()
    {
        static long Size(string entry) => new FileInfo(Path.Combine(entry, "model.onnx_data")).Length;
        float[] expected = Cached(Folder());
        string[] entries = [.. Entries.OrderBy(Size)];
        float[] other = Cached(Folder("other", seed: 2));
        string[] others = [.. Entries.Except(entries).OrderBy(Size)];
        Assert.True(Difference.Max(expected, other) > 1e-2);
        foreach ((string entry, string from) in entries.Zip(others))
        {
            Directory.Delete(entry, recursive: true);
            Directory.Move(from, entry);
        }
        Difference.Small(other, Cached(Folder()), Same);
    }

    [Fact]
    public void Other_weights_dtypes_and_layouts_have_graphs_of_their_own()
    {
        string folder = Folder();
        Cached(folder);
        Cached(folder, new() { Dtype = OnnxDtype.Int8 });
        Cached(folder, new() { ShareWeights = true });
        Cached(Folder("other", seed: 2));
        Assert.Equal(10, Entries.Length);
        Cached(folder, new() { Threads = 1 });         // of no concern to the graph
        Cached(folder, new() { Dtype = OnnxDtype.Int8, Mode = Throughput });
        Assert.Equal(10, Entries.Length);
        Cached(folder, new() { Mode = Throughput });   // pictures only: texts of a batch have the graph of the other mode
        Assert.Equal(11, Entries.Length);
    }

    [Fact]
    public void A_model_is_known_by_its_content_wherever_it_lies()
    {
        float[] expected = Cached(Folder());
        string[] made = Entries;
        Difference.Small(expected, Cached(Folder("copy")), Same);
        using MultimodalModel inMemory = Tiny.Load(options: new() { GraphCacheFolder = Cache });
        Difference.Small(expected, Embed(inMemory), Same);
        Assert.Equal(made, Entries);
    }

    [Fact]
    public void One_changed_weight_is_another_model_though_size_and_time_are_the_same()
    {
        string folder = Folder(), file = Path.Combine(folder, "model.safetensors");
        DateTime time = File.GetLastWriteTimeUtc(file);
        float[] before = Cached(folder);
        byte[] bytes = File.ReadAllBytes(file);
        bytes[^1] ^= 0x40; // the exponent of the last weight
        File.WriteAllBytes(file, bytes);
        File.SetLastWriteTimeUtc(file, time);
        float[] after = Cached(folder);
        Assert.True(Difference.Max(before, after) > 1e-3);
        Difference.Small(Embed(folder, new() { GraphCacheFolder = "" }), after, Same);
    }

    [Fact]
    public void A_graph_without_its_file_is_made_anew()
    {
        float[] expected = Cached(Folder());
        foreach (string entry in Entries) File.Delete(Path.Combine(entry, "model.onnx"));
        Difference.Small(expected, Cached(Folder()), Same);
        Assert.All(Entries, entry => Assert.True(File.Exists(Path.Combine(entry, "model.onnx"))));
    }

    [Theory]
    [InlineData("model.onnx", 0), InlineData("model.onnx", 100)]
    [InlineData("model.onnx_data", 0), InlineData("model.onnx_data", 5000)]
    public void A_damaged_graph_is_made_anew(string file, int length)
    {
        string folder = Folder();
        float[] expected = Cached(folder);
        string[] made = Entries;
        long[] sizes = [.. made.Select(entry => new FileInfo(Path.Combine(entry, file)).Length)];
        foreach (string entry in made)
            using (FileStream stream = File.OpenWrite(Path.Combine(entry, file))) stream.SetLength(length);
        Difference.Small(expected, Cached(folder), Same);
        Assert.Equal(made, Entries);
        Assert.Equal(sizes, made.Select(entry => new FileInfo(Path.Combine(entry, file)).Length));
    }

    [Theory, InlineData(1), InlineData(2), InlineData(3)]
    public void A_graph_that_cannot_be_opened_is_made_three_times_at_most(int refused)
    {
        // As when others find the same graph damaged and remove what has just been made.
        ModelProto graph = OnnxRecorder.Record(Tiny.Clip.Encoders[Modality.Text], Tiny.Weights(Tiny.Clip)).Proto;
        byte[] right = graph.ToByteArray();
        graph.Graph.Node[0].OpType = "NoSuchOperator";
        byte[] wrong = graph.ToByteArray();
        int made = 0;
        using var settings = new SessionOptions { LogSeverityLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL };
        InferenceSession? Open() => new GraphCache(Cache).Open("key", settings, folder =>
        {
            File.WriteAllBytes(Path.Combine(folder, "model.onnx"), made++ < refused ? wrong : right);
            return true;
        });
        if (refused == 3) Assert.Contains("NoSuchOperator", Assert.Throws<OnnxRuntimeException>(Open).Message);
        else Open()!.Dispose();
        Assert.Equal(Math.Min(refused + 1, 3), made);
    }

    [Fact]
    public void Weights_laid_out_for_kernels_are_aligned_as_these_want_them()
    {
        Cached(Folder());
        static ModelProto Graph(string entry) => ModelProto.Parser.ParseFrom(File.ReadAllBytes(Path.Combine(entry, "model.onnx")));
        string[] laidOut = [.. Entries.SelectMany(entry => Graph(entry).Graph.Initializer).SelectMany(i => i.ExternalData)
            .Where(e => e.Key.StartsWith("prepacked_")).SelectMany(e => e.Value.Split('|').Skip(1))];
        Assert.True(laidOut.Length > 0 || !GraphKey.KnowsProcessor);
        Assert.All(laidOut, buffer => Assert.Equal(0, long.Parse(buffer.Split(';')[0]) % 64));
    }

    [Theory]
    [InlineData("Gemm+1|0;2000;"), InlineData("Gemm+1|900;101;"), InlineData("Gemm+1|-4;8;"), InlineData("Gemm+1|0;8")]
    [InlineData("Gemm+1|a;b;c")]
    public void Layouts_that_are_not_understood_are_not_kept(string buffers)
    {
        var tensor = new TensorProto { ExternalData = { new StringStringEntryProto { Key = "prepacked_0", Value = buffers } } };
        byte[] graph = new ModelProto { Graph = new() { Initializer = { tensor } } }.ToByteArray();
        AtomicFile.Write(_folder.File("model.onnx"), stream => stream.Write(graph));
        AtomicFile.Write(_folder.File("model.onnx_data"), stream => stream.Write(new byte[1000]));
        NotSupportedException error = Assert.Throws<NotSupportedException>(
            () => GraphCache.Align(_folder.File("model.onnx"), _folder.File("model.onnx_data")));
        Assert.Contains(buffers, error.Message);
        Assert.Contains(GraphCache.Variable, error.Message);
    }

    [Fact]
    public void Many_at_once_make_one_graph_and_nothing_else()
    {
        string folder = Folder();
        float[] expected = Embed(folder, new() { GraphCacheFolder = "" });
        // Other threads are other models of the process, but the same graph.
        Parallel.For(1, 9, threads => Difference.Small(expected, Cached(folder, new() { Threads = threads }), Same));
        Assert.Equal(3, Entries.Length);
        Assert.All(Entries, entry => Assert.Equal(["model.onnx", "model.onnx_data"],
            Directory.EnumerateFiles(entry).Select(Path.GetFileName).Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void What_a_killed_process_left_goes_after_a_day()
    {
        string old = Directory.CreateDirectory(Path.Combine(Cache, "abc.0123.tmp")).FullName;
        string young = Directory.CreateDirectory(Path.Combine(Cache, "abc.4567.tmp")).FullName;
        Directory.SetLastWriteTimeUtc(old, DateTime.UtcNow.AddDays(-2));
        Cached(Folder());
        Assert.False(Directory.Exists(old));
        Assert.True(Directory.Exists(young));
    }

    [Fact]
    public void A_cache_that_cannot_be_written_says_so()
    {
        File.WriteAllText(Cache, "a file");
        IOException error = Assert.Throws<IOException>(() => Cached(Folder()));
        Assert.Contains($"'{Cache}'", error.Message);
        Assert.Contains("GraphCacheFolder", error.Message);
    }

    [Fact]
    public void Its_folder_is_private()
    {
        if (OperatingSystem.IsWindows()) return;
        Cached(Folder());
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Cache));
    }

    [Fact]
    public void A_file_that_is_replaced_after_it_was_opened_is_not_kept_under_the_other_s_name()
    {
        string first = Folder("first"), second = Folder("second", seed: 2), file = Path.Combine(first, "model.safetensors");
        float[] expected = Embed(first, new() { GraphCacheFolder = "" }), other = Embed(second, new() { GraphCacheFolder = "" });
        using MultimodalModel model = MultimodalModel.Load(first, new() { GraphCacheFolder = Cache }); // maps the file
        Assert.NotEqual(0, model.EmbeddingWidth);
        File.Copy(Path.Combine(second, "model.safetensors"), $"{file}.new");
        File.Move($"{file}.new", file, overwrite: true);
        File.SetLastWriteTimeUtc(file, DateTime.UtcNow.AddSeconds(5));
        Difference.Small(expected.AsSpan(0, Texts.Length * model.EmbeddingWidth),
            [.. model.EmbedTexts(Texts).SelectMany(e => e)], 1e-6f);
        Difference.Small(other, Cached(first), Same);
        Difference.Small(other, Cached(second), Same);
    }

    [Fact]
    public void Graphs_of_a_folder_are_kept_too()
    {
        Dictionary<string, ReadOnlyMemory<byte>> files = Tiny.Files();
        using (MultimodalModel model = Tiny.Load(files))
            foreach (OnnxModel graph in OnnxExport.Record(model, OnnxDtype.Fp32))
                files[$"onnx/{graph.Name}.onnx"] = graph.Proto.ToByteArray();
        files.Remove("model.safetensors");
        string folder = Folder("graphs", files: files);
        float[] expected = Embed(folder, new() { GraphCacheFolder = "" });
        Difference.Small(expected, Cached(folder), Same);
        string[] made = Entries;
        Assert.Equal(2, made.Length);
        Difference.Small(expected, Cached(folder), Same);
        using MultimodalModel inMemory = Tiny.Load(files, new() { GraphCacheFolder = Cache });
        Difference.Small(expected.AsSpan(0, Texts.Length * inMemory.EmbeddingWidth),
            [.. inMemory.EmbedTexts(Texts).SelectMany(e => e)], Same);
        Assert.Equal(made, Entries);
    }
}
