using System.Text;
using Microsoft.ML;
using Microsoft.ML.Runtime;
using MLNetMultimodal.Media.Images;
using MLNetMultimodal.Media.Text;
using MLNetMultimodal.Models.Checkpoints;
using MLNetMultimodal.Models.Families;
using MLNetMultimodal.Models.Ops;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace MLNetMultimodal.Training;

/// <summary>VLMo's training in stages, each from the folder of the one before (Bao et al. 2022, arXiv:2111.02358, section 3.3): pictures
/// alone teach attention and the vision experts, texts alone the language experts, pairs all of it.</summary>
sealed class VlmoStages(IHostEnvironment env, MaskedModelingOptions options, MultimodalEmbedOptions embed)
{
    const string PreprocessorFile = "preprocessor_config.json";

    /// <summary>The stage that the columns say: pictures, texts, or pairs.</summary>
    /// <param name="train">The rows.</param>
    /// <param name="validation">Rows to evaluate on; null for none.</param>
    public MultimodalTransformer Fit(IDataView train, IDataView? validation)
    {
        if (options is { Image: not null, Text: null, Tokenizer: null })
            throw new ArgumentException("a VLMo that learns from pictures alone tells their codes: set Tokenizer.");
        bool tellsCodes = options.Text is null;
        using VisualTokens? codes = tellsCodes ? VisualTokens.Load(options.Tokenizer!, torch.device(options.Device)) : null;
        var (start, images, words) = Start(codes, train);
        VlmoConfig c = start.Definition.Config;
        codes?.CheckFits(images, c.ImageSize, c.PatchSize, c.VisualVocabularySize);
        IProgram program = tellsCodes ? start.Definition.MaskedImages : options.Image is null ? start.Definition.MaskedTexts : start.Definition.MaskedPairs;
        using TorchModel model = start.NewModel(new AllPrograms([start.Definition.Full, start.Definition.MaskedImages, start.Definition.MaskedPairs]), options);
        using IMaskedRows rows = Rows(train, images, words, c);
        using IMaskedRows? held = validation is null ? null : Rows(validation, images, words, c);
        if (held is { Count: 0 }) throw new ArgumentException("the validation data has no rows.", nameof(validation));
        var task = new MaskedModelingTask(options, start.Definition, program, model, rows, held, "accuracy",
            tellsCodes ? codes!.Score : options.Image is null ? MaskedModelingTask.Words : Pairs, codes?.Fingerprint);
        string how = tellsCodes ? "by masked modelling of visual tokens" : options.Image is null ? "by masked language modelling"
            : "by contrast, matching and masked words of pairs";
        return start.Run(env, MaskedModelingTrainer.Name, options, task, how, tellsCodes ? "hidden tokens told" : "hidden words told", embed);
    }

    (PretrainingStart<VlmoModel> Start, ImagePreprocessing Images, TextTokenizer? Words) Start(VisualTokens? codes, IDataView train)
    {
        using StartFolder? folder = options.Initialize is { } name ? new(name) : null;
        var before = folder is null ? new(options.Vlmo ?? new()) : PretrainingStart<VlmoModel>.Known(folder, options.Initialize!, m => m as VlmoModel);
        VlmoConfig c = before.Config;
        ImagePreprocessing images = (folder is null ? codes?.Images : ImagePreprocessing.TryLoad(folder.Files.TryRead)) ?? ImagePreprocessing.Clip(c.ImageSize);
        // A folder that has read no texts has no tokenizer yet: the first texts bring one.
        TextTokenizer? words = folder is not null && HasTokenizer(folder.Files) ? folder.Texts : null;
        if (words is null && options.Text is not null)
        {
            words = ByteLevelBpeTrainer.Train(MaskedTexts.Read(train, options.Text, options.Cancellation).Distinct(), new() { VocabularySize = options.VocabularySize });
            c = c with { VocabularySize = words.VocabularySize + 1, PadId = words.PadId, MaskId = words.VocabularySize };
        }
        if (codes is not null) c = c with { VisualVocabularySize = codes.Config.CodebookSize };
        words = words?.WithContextLength(Math.Min(words.ContextLength, c.ContextLength));
        List<(string, ReadOnlyMemory<byte>)> files = [(PreprocessorFile, Encoding.UTF8.GetBytes(images.ToJson())), .. words?.Files.Select(f => (f.Key, f.Value)) ?? []];
        var weights = folder is null ? null : PretrainingStart<VlmoModel>.Copied(folder.Weights(before));
        return (new(new VlmoModel(c), files, weights, options.Initialize), images, words);
    }

    static bool HasTokenizer(ModelFiles folder) => folder.Contains("tokenizer.json") || folder.Contains("vocab.json") || folder.Contains("vocab.txt");

    IMaskedRows Rows(IDataView data, ImagePreprocessing images, TextTokenizer? words, VlmoConfig c)
    {
        MaskedTexts? texts = options.Text is null ? null : new(
            [.. MaskedTexts.Read(data, options.Text, options.Cancellation).Select(words!.Encode)], words!,
            new() { VocabularySize = c.VocabularySize, PadId = c.PadId, MaskId = c.MaskId }, options.WordShare, options.Seed);
        if (options.Image is null) return texts!;
        int hidden = texts is null ? Math.Max(1, (int)Math.Round(options.PatchShare * c.Patches)) : 0;
        var pictures = new MaskedPictures(new PictureReader(options.Image, options.ImageFolder, options.Cancellation).Read(data, images, options.Cache), images,
            options.Augmentation, c.ImageSize / c.PatchSize, hidden, inBlocks: true, options.Seed);
        return texts is null ? pictures : new MaskedPairs(pictures, texts);
    }

    /// <summary>Hidden words, which text of all belongs to which picture, and whether one does (section 3.2); equal texts belong to each
    /// other's pictures.</summary>
    static MaskedScore Pairs(IReadOnlyList<Tensor> outputs, MaskedTensors batch, bool counts)
    {
        MaskedScore words = MaskedModelingTask.Words(outputs, batch, counts);
        Tensor ids = batch.Whole["input_ids"], logits = outputs[1];                                     // [B, L], [B, B]
        Tensor equal = ids.unsqueeze(1).eq(ids.unsqueeze(0)).to(torch.ScalarType.Float32).amin([-1]);   // [B, B]
        Tensor contrast = ContrastiveLoss.Rows(logits, equal).Plus(ContrastiveLoss.Rows(logits.t(), equal)).Over(2);
        Tensor isRight = batch.Inputs["wrong_input_ids"].eq(ids).to(torch.ScalarType.Int64).amin([-1]); // [B], 1 where no other text was there
        Tensor labels = torch.cat([torch.ones_like(isRight), isRight.With(MaskedLoss.Ignored, (x, ignored) => x.mul(ignored))]);
        Tensor matching = torch.nn.functional.cross_entropy(torch.cat([outputs[2], outputs[3]]), labels, ignore_index: MaskedLoss.Ignored);
        return words with { Loss = words.Loss.Plus(contrast).Plus(matching) };
    }

    /// <summary>Programs of one model, one after the other: all their weights.</summary>
    sealed class AllPrograms(IReadOnlyList<IProgram> programs) : IProgram
    {
        public string Name => "all";

        public IReadOnlyList<TensorSpec> Inputs { get; } = [.. programs.SelectMany(p => p.Inputs).DistinctBy(i => i.Name)];

        public IReadOnlyList<(string, T)> Run<T>(ITensorOps<T> ops, IReadOnlyDictionary<string, T> inputs) where T : class =>
            [.. programs.SelectMany(p => p.Run(ops, inputs))];
    }
}
