using System.CommandLine;
using System.Globalization;
using Microsoft.ML;
using MLNetMultimodal.Inference;
using MLNetMultimodal.Training;

namespace MLNetMultimodal.ModelBuilder.Commands;

/// <summary><c>train</c> and <c>finetune</c>: a dual encoder from pictures and captions, or from pictures and class names.</summary>
static class TrainCommand
{
    const int LossSteps = 100;

    static readonly ContrastiveOptions Defaults = new() { Image = "", Text = "" };

    sealed record Row(string Output, bool Completed, long Steps, int Epochs, double? Loss, double? Validation,
        double? SamplesPerSecond, double Seconds);

    /// <summary>The command from random weights, or from a model folder.</summary>
    /// <param name="tunes">True for <c>finetune</c>.</param>
    public static Command Create(bool tunes)
    {
        var options = new TrainOptions(tunes);
        FineTuneOptions? tuning = tunes ? new() : null;
        var data = new DataOptions();
        Option<string> format = ToolOptions.Format(ResultWriter.Table, ResultWriter.Json);
        var command =
            new Command(tunes ? "finetune" : "train", $"{(tunes ? "Go on training" : "Train")} a model on captioned or labelled pictures. "
                + "Ctrl+C ends it and keeps the best so far.");
        command.Add(format);
        data.AddTo(command);
        options.AddTo(command);
        tuning?.AddTo(command);
        command.SetAction((parsed, cancellation) =>
        {
            var ml = new MLContext(parsed.GetValue(options.Seed));
            IReadOnlyList<string>? templates = options.Templates.Read(parsed);
            PictureData pictures = data.Load(ml, parsed, ZeroShotPrompts.DefaultTemplate);
            (IDataView train, IDataView? validation) = Split(ml, parsed, options, data, pictures);
            var observer = new Observer();
            ContrastiveOptions contrastive = WrongUsageException.Check(() => options.Read(parsed) with
            {
                Image = pictures.Image,
                Text = pictures.ClassText ?? PictureData.Caption,
                Group = pictures.Label,
                Templates = templates ?? (pictures.ClassText is null ? Defaults.Templates : [ZeroShotPrompts.DefaultTemplate]),
                FineTuning = tuning?.Read(parsed) ?? Defaults.FineTuning,
                Progress = observer,
                Cancellation = cancellation,
            });
            ProgressDisplay.Run("reading the data", report =>
            {
                observer.Display = report;
                using MultimodalTransformer model = ml.Multimodal.Trainers.Contrastive(contrastive).Fit(train, validation);
                return 0;
            });
            bool completed = !cancellation.IsCancellationRequested || observer.IsAtEnd;
            ResultWriter.Write(parsed.GetValue(format), [observer.ToRow(contrastive, completed)],
                ["output", "steps", "epochs", "loss", "validation top-1", "samples/s", "seconds"], Cells);
            if (!completed) Console.Error.WriteLine($"cancelled: '{contrastive.Output}' holds the best model so far.");
            return Task.FromResult(completed ? ExitCode.Done : ExitCode.Failed);
        });
        return command;
    }

    static (IDataView, IDataView?) Split(
        MLContext ml, ParseResult parsed, TrainOptions options, DataOptions data, PictureData pictures)
    {
        if (parsed.GetValue(options.Validation) is { } path)
            return (pictures.View, data.Load(ml, parsed, path, ZeroShotPrompts.DefaultTemplate).View);
        if (parsed.GetValue(options.ValidationShare) is not (> 0 and var share)) return (pictures.View, null);
        DataOperationsCatalog.TrainTestData split =
            ml.Data.TrainTestSplit(pictures.View, share, seed: parsed.GetValue(options.Seed));
        return (split.TrainSet, split.TestSet);
    }

    static string[] Cells(Row row)
    {
        static string Text(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? "";
        return
        [
            row.Output, Text(row.Steps, "n0"), Text(row.Epochs, "n0"), Text(row.Loss, "f4"), Text(row.Validation, "p2"),
            Text(row.SamplesPerSecond, "n0"), Text(row.Seconds, "n1"),
        ];
    }

    /// <summary>Keeps what the result says of the training, and shows each step.</summary>
    sealed class Observer : IProgress<TrainingStep>
    {
        readonly Queue<double> _losses = new();
        TrainingStep? _last;
        double? _best;

        public Action<double, string>? Display { get; set; }

        public bool IsAtEnd => _last is { } step && step.Step == step.Steps;

        public void Report(TrainingStep step)
        {
            _last = step;
            _losses.Enqueue(step.Loss);
            if (_losses.Count > LossSteps) _losses.Dequeue();
            if (step.ValidationMetric is { } metric) _best = Math.Max(metric, _best ?? metric);
            string left = step.Remaining.ToString(@"hh\:mm\:ss", CultureInfo.InvariantCulture);
            string validation = _best is { } best ? $"  validation {best:p1}" : "";
            Display?.Invoke((double)step.Step / step.Steps, string.Create(CultureInfo.InvariantCulture,
                $"epoch {step.Epoch}  loss {step.Loss:f4}{validation}  {step.SamplesPerSecond:n0} samples/s  {left} left"));
        }

        public Row ToRow(ContrastiveOptions options, bool completed) =>
            new(options.Output!, completed, _last?.Step ?? 0, _last?.Epoch ?? 0,
            _losses.Count > 0 ? _losses.Average() : null, _best, _last?.SamplesPerSecond, _last?.Elapsed.TotalSeconds ?? 0);
    }

    /// <summary>The trainer's options as options of the command line; what is not given has the trainer's own default.</summary>
    sealed class TrainOptions(bool tunes)
    {
        readonly Option<string> _output = ToolOptions.Required<string>("--output", "DIR", "The model folder to write.");
        readonly Option<string?> _initialize = tunes
            ? ToolOptions.Required<string?>(
                ToolOptions.ModelName, "DIR", "The model to start from: a folder, or hub:owner/name[@revision].")
            : ToolOptions.Of<string?>(ToolOptions.InitializeName, "DIR",
                "A model to start from, a folder or hub:owner/name[@revision]; without it, random weights.");
        readonly Option<int> _epochs = ToolOptions.Defaulting("--epochs", "Times that each row is seen.", Defaults.Epochs);
        readonly Option<int> _batchSize =
            ToolOptions.Defaulting("--batch-size", "Rows that are compared with each other in a step.", Defaults.BatchSize);
        readonly Option<int?> _microBatchSize =
            ToolOptions.Of<int?>("--micro-batch-size", "N", "Rows that go through the model at once; fewer save memory.");
        readonly Option<double> _learningRate =
            ToolOptions.Defaulting("--learning-rate", "Highest learning rate.", Defaults.LearningRate);
        readonly Option<double> _warmupShare =
            ToolOptions.Defaulting("--warmup-share", "Share of the steps in which the rate rises.", Defaults.WarmupShare);
        readonly Option<double> _weightDecay =
            ToolOptions.Defaulting("--weight-decay", "Decoupled weight decay.", Defaults.WeightDecay);
        readonly Option<double> _gradientClip =
            ToolOptions.Defaulting("--gradient-clip", "Longest gradient that a step takes.", Defaults.GradientClip);
        readonly Option<double> _ema =
            ToolOptions.Defaulting("--ema", "Decay of the weights' moving average; 0 turns it off.", Defaults.EmaDecay);
        readonly Option<double> _patchDropout =
            ToolOptions.Defaulting("--patch-dropout", "Share of patches that a step drops.", Defaults.PatchDropout);
        readonly Option<float> _cropMinScale = ToolOptions.Defaulting("--crop-min-scale",
            "Smallest share of a picture that a random crop keeps; 1 does not crop.", Defaults.Augmentation.CropMinScale);
        readonly Option<float> _flip =
            ToolOptions.Defaulting("--flip", "Share of pictures that are mirrored.", Defaults.Augmentation.HorizontalFlip);
        readonly Option<int> _translate =
            ToolOptions.Defaulting("--translate", "Most pixels that a picture moves.", Defaults.Augmentation.TranslatePixels);
        readonly Option<float> _erase =
            ToolOptions.Defaulting("--erase", "Share of pictures of which a rectangle is erased.", Defaults.Augmentation.Erase);
        readonly Option<int> _vocabularySize =
            ToolOptions.Defaulting("--vocabulary-size", "Largest vocabulary of a new tokenizer.", Defaults.VocabularySize);
        readonly Option<ContrastiveObjective> _objective =
            ToolOptions.Defaulting("--objective", "How similarities become a loss.", Defaults.Objective);
        readonly Option<bool> _bfloat16 = ToolOptions.Flag("--bf16", "Multiply matrices in bfloat16.");
        readonly Option<string> _device =
            ToolOptions.Defaulting("--device", "Where to compute: cpu, cuda, cuda:1.", Defaults.Device);
        readonly Option<int?> _patience =
            ToolOptions.Of<int?>("--patience", "N", "Validations without a better result after which training ends.");
        readonly Option<string?> _checkpoints =
            ToolOptions.Of<string?>("--checkpoints", "DIR", "Folder for checkpoints; a training goes on from one that is there.");
        readonly Option<int> _checkpointSteps =
            ToolOptions.Defaulting("--checkpoint-steps", "Steps between two checkpoints.", Defaults.CheckpointSteps);
        readonly Option<string?> _cache = ToolOptions.Of<string?>(
            "--cache", "DIR", "Folder that keeps decoded pictures, in place of memory, for this run and the next.");
        readonly Option<string?> _logs = ToolOptions.Of<string?>("--logs", "DIR", "Folder for TensorBoard's event files.");

        public Option<string?> Validation { get; } =
            ToolOptions.Of<string?>("--validation", "PATH", "A folder or manifest to validate on after each epoch.");

        public Option<double> ValidationShare { get; } =
            ToolOptions.Defaulting("--validation-share", "Share of the rows that are held back to validate on.", 0.0);

        public Option<int> Seed { get; } =
            ToolOptions.Defaulting("--seed", "Same seed, same data, same machine: same model.", Defaults.Seed);

        public TemplateOptions Templates { get; } = new();

        public void AddTo(Command command)
        {
            Option[] options =
            [
                _output, _initialize, Validation, ValidationShare, _epochs, _batchSize, _microBatchSize, _learningRate,
                _warmupShare, _weightDecay, _gradientClip, _ema, _patchDropout, _cropMinScale, _flip, _translate, _erase,
                _vocabularySize, _objective, _bfloat16, _device, Seed, _patience, _checkpoints, _checkpointSteps, _cache, _logs,
            ];
            foreach (Option option in options) command.Add(option);
            Templates.AddTo(command);
            command.Validators.Add(result =>
            {
                bool share = result.GetValue(ValidationShare) > 0, path = result.GetResult(Validation) is not null;
                if (share && path) result.AddError("Give --validation or --validation-share, not both.");
                else if (!share && !path && result.GetResult(_patience) is not null)
                    result.AddError("--patience needs --validation or --validation-share.");
                else if (result.GetValue(ValidationShare) is not (>= 0 and < 1))
                    result.AddError("--validation-share must be at least 0 and below 1.");
            });
        }

        /// <summary>All but the columns.</summary>
        public ContrastiveOptions Read(ParseResult parsed) => Defaults with
        {
            Output = parsed.GetValue(_output),
            Initialize = parsed.GetValue(_initialize),
            Epochs = parsed.GetValue(_epochs),
            BatchSize = parsed.GetValue(_batchSize),
            MicroBatchSize = parsed.GetValue(_microBatchSize),
            LearningRate = parsed.GetValue(_learningRate),
            WarmupShare = parsed.GetValue(_warmupShare),
            WeightDecay = parsed.GetValue(_weightDecay),
            GradientClip = parsed.GetValue(_gradientClip),
            EmaDecay = parsed.GetValue(_ema),
            PatchDropout = parsed.GetValue(_patchDropout),
            Augmentation = new()
            {
                CropMinScale = parsed.GetValue(_cropMinScale),
                HorizontalFlip = parsed.GetValue(_flip),
                TranslatePixels = parsed.GetValue(_translate),
                Erase = parsed.GetValue(_erase),
            },
            VocabularySize = parsed.GetValue(_vocabularySize),
            Objective = parsed.GetValue(_objective),
            BFloat16 = parsed.GetValue(_bfloat16),
            Device = parsed.GetRequiredValue(_device),
            Seed = parsed.GetValue(Seed),
            EarlyStoppingPatience = parsed.GetValue(_patience),
            Checkpoints = parsed.GetValue(_checkpoints),
            CheckpointSteps = parsed.GetValue(_checkpointSteps),
            Cache = parsed.GetValue(_cache),
            Logs = parsed.GetValue(_logs),
        };
    }
}
