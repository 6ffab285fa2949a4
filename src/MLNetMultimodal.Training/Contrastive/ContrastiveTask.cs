using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Families;
using TorchSharp;
using static TorchSharp.torch;
using F = TorchSharp.torch.nn.functional;
using Parameter = TorchSharp.Modules.Parameter;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>Contrastive training of pictures and captions.</summary>
sealed class ContrastiveTask : ITrainingTask<PairBatch>, IDisposable
{
    readonly ContrastiveOptions _options;
    readonly IModelDefinition _definition;
    readonly PairSet _train;
    readonly PairSet? _validation;
    readonly ImagePreprocessing _images;
    readonly TextTokenizer _texts;
    readonly TorchModel _model;
    readonly Generator _generator;
    readonly Parameter? _bias;
    readonly bool _ownsBias = true;
    readonly ContrastiveStep _step;
    readonly PairBatcher _batcher;

    public ContrastiveTask(ContrastiveOptions options, IModelDefinition definition, TorchModel model, ImagePreprocessing images, TextTokenizer texts,
        PairSet train, PairSet? validation)
    {
        if (train.Count < 2) throw new ArgumentException($"contrastive training needs at least 2 rows, but the data has {train.Count}.", nameof(train));
        if (validation is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        (_options, _definition, _model, _images, _texts, _train, _validation) = (options, definition, model, images, texts, train, validation);
        _generator = new Generator(unchecked((ulong)options.Seed), model.Device);
        List<NamedParameter> parameters = [.. TrainableParameters.Select(definition, model, options.FineTuning)];
        if (options.Objective == ContrastiveObjective.Sigmoid && model.Parameters.TryGetValue("logit_bias", out Parameter? known)) (_bias, _ownsBias) = (known, false);
        else if (options.Objective == ContrastiveObjective.Sigmoid)
        {
            using DisposeScope scope = NewDisposeScope();
            _bias = (Parameter)new Parameter(tensor(-10f).to(model.Device), requires_grad: true).DetachFromDisposeScope();
            parameters.Add(new("logit_bias", _bias, false));
        }
        Parameters = parameters;
        Generators = new Dictionary<string, Generator> { ["patch_dropout"] = _generator };
        _step = new ContrastiveStep(definition, model, options, _generator, _bias);
        _batcher = new PairBatcher(train, definition, images, texts, Augmentation.For(images, options.Augmentation, options.Seed), options.Templates, options.Seed);
    }

    public IReadOnlyList<NamedParameter> Parameters { get; }

    public IReadOnlyDictionary<string, Generator> Generators { get; }

    public int Rows => _train.Count;

    public string Metric => "top1";

    public IReadOnlyDictionary<string, string> Description => new Dictionary<string, string> { ["config"] = _definition.ToConfigJson() };

    public PairBatch Make(ReadOnlyMemory<int> rows, int epoch) => _batcher.Make(rows, epoch);

    public float Backward(PairBatch batch, TrainingPosition at) => _step.Backward(batch);

    public void AfterStep(TrainingPosition at) => _model.Parameters[_definition.LogitScale!].clamp_(null, Math.Log(100)); // as in CLIP, section 2.5

    public TrainedWeights Weights() => new(_model.ToWeights(), _model.Adapter(_options.Initialize));

    public double? Validate() => _validation is null ? null : Top1(_validation);

    // Zero-shot: the prompts of a group are averaged to one embedding, and each picture picks the nearest group.
    double Top1(PairSet set)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGradients = no_grad();
        var ops = _model.Ops();
        Tensor groups = GroupEmbeds(set, ops);                                                          // [G, E]
        int right = 0, size = 3 * _images.Height * _images.Width;
        const int batch = 250;
        for (int start = 0; start < set.Count; start += batch)
        {
            using DisposeScope part = NewDisposeScope();
            int count = Math.Min(batch, set.Count - start);
            var pixels = new float[count * size];
            Parallel.For(0, count, i => _images.Normalize(set.Pictures.Picture(start + i), pixels.AsSpan(i * size, size)));
            Tensor embeds = Embed(ops, Modality.Image, tensor(pixels, [count, 3, _images.Height, _images.Width]).to(_model.Device));
            long[] picked = embeds.matmul(groups.t()).argmax(1).to(CPU).data<long>().ToArray();         // [B, G] -> [B]
            for (int i = 0; i < count; i++)
                if (picked[i] == set.Group(start + i)) right++;
        }
        return (double)right / set.Count;
    }

    Tensor GroupEmbeds(PairSet set, TorchOps ops)
    {
        var captions = new SortedSet<string>?[set.GroupNames.Count];
        for (int row = 0; row < set.Count; row++) (captions[set.Group(row)] ??= new(StringComparer.Ordinal)).UnionWith(set.Captions(row));
        return stack(captions.Select(c => Prompts([.. PairBatcher.Texts(c!, _options.Templates)])));

        Tensor Prompts(string[] prompts)
        {
            using DisposeScope part = NewDisposeScope();
            int length = _definition.PaddedLength(prompts.Max(p => _texts.Encode(p).Count));
            var ids = new long[prompts.Length * length];
            _texts.EncodeBatch(prompts, length, ids, []);
            Tensor embeds = Embed(ops, Modality.Text, tensor(ids, [prompts.Length, length]).to(_model.Device));
            return F.normalize(embeds.mean([0]), 2, -1).MoveToOuterDisposeScope();
        }
    }

    Tensor Embed(TorchOps ops, Modality modality, Tensor input)
    {
        var program = _definition.Encoders[modality];
        return program.Run(ops, new Dictionary<string, Tensor> { [program.Inputs[0].Name] = input })[0].Value;
    }

    public void Dispose()
    {
        if (_ownsBias) _bias?.Dispose();
        _generator.Dispose();
    }
}
