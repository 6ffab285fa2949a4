using MLNetMultimodal.Inference.Onnx;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;

namespace MLNetMultimodal.Inference.Tests;

public sealed class LoadedModelsTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    public LoadedModelsTests() => Write(Tiny.Files());

    public void Dispose() => _folder.Dispose();

    void Write(Dictionary<string, ReadOnlyMemory<byte>> files)
    {
        foreach (var (name, content) in files) AtomicFile.Write(_folder.File(name), stream => stream.Write(content.Span));
    }

    MultimodalModel Load(InferenceOptions? options = null) => MultimodalModel.Load(_folder.Path, options);

    static IEncoder Session(MultimodalModel model) => model.Encoder(Modality.Text);

    [Fact]
    public void A_folder_loaded_twice_is_one_session()
    {
        using MultimodalModel first = Load(), second = Load(), byAnotherName = MultimodalModel.Load(Path.Combine(_folder.Path, "."));
        Assert.Same(Session(first), Session(second));
        Assert.Same(Session(first), Session(byAnotherName));
        Assert.Same(first.Weights, second.Weights);
    }

    [Fact]
    public void Other_options_and_files_in_memory_are_models_of_their_own()
    {
        using MultimodalModel plain = Load(), single = Load(new() { Threads = 1 }), memory = Tiny.Load(), again = Tiny.Load(),
            throughput = Load(new() { Mode = InferenceMode.Throughput }), small = Load(new() { Dtype = OnnxDtype.Int8 });
        IEncoder[] sessions = [.. new[] { plain, single, throughput, small, memory, again }.Select(Session)];
        Assert.Equal(sessions.Length, sessions.Distinct().Count());
    }

    [Fact]
    public void The_session_lives_as_long_as_somebody_has_it()
    {
        MultimodalModel first = Load();
        using MultimodalModel second = Load();
        IEncoder session = Session(first);
        float[] expected = first.EmbedTexts(["a cat"])[0];
        first.Dispose();
        first.Dispose(); // counts once
        Assert.Equal(expected, second.EmbedTexts(["a cat"])[0]);
        using MultimodalModel third = Load();
        Assert.Same(session, Session(third));
        Assert.Throws<ObjectDisposedException>(() => first.EmbedTexts(["a cat"]));
    }

    [Fact]
    public void After_the_last_one_the_folder_is_loaded_anew()
    {
        IEncoder session;
        using (MultimodalModel first = Load()) session = Session(first);
        using MultimodalModel second = Load();
        Assert.NotSame(session, Session(second));
    }

    [Fact]
    public void A_folder_that_changed_is_another_model()
    {
        using MultimodalModel before = Load();
        float[] old = before.EmbedTexts(["a cat"])[0];
        Write(Tiny.Files(weights: Tiny.Weights(Tiny.Clip, seed: 9)));
        File.SetLastWriteTimeUtc(_folder.File("model.safetensors"), DateTime.UtcNow.AddSeconds(5));
        using MultimodalModel after = Load();
        Assert.NotEqual(old, after.EmbedTexts(["a cat"])[0]);
        Assert.Equal(old, before.EmbedTexts(["a cat"])[0]);
    }

    [Fact]
    public void A_folder_that_cannot_be_loaded_can_be_loaded_when_it_is_mended()
    {
        byte[] config = File.ReadAllBytes(_folder.File("config.json"));
        File.WriteAllText(_folder.File("config.json"), "{");
        Assert.Throws<InvalidDataException>(() => Load());
        File.WriteAllBytes(_folder.File("config.json"), config);
        using MultimodalModel model = Load();
        Assert.Single(model.EmbedTexts(["a cat"]));
    }

    [Fact]
    public void Many_threads_that_load_use_and_dispose_get_the_same_embedding()
    {
        var options = new InferenceOptions { Mode = InferenceMode.Throughput };
        float[] expected;
        using (MultimodalModel model = Load(options)) expected = model.EmbedTexts(["a cat"])[0];
        Parallel.For(0, 40, new() { MaxDegreeOfParallelism = 8 }, _ =>
        {
            using MultimodalModel model = Load(options);
            Assert.Equal(expected, model.EmbedTexts(["a cat"])[0]);
        });
    }
}
